"""parts/model/networks.py: shapes of every size, receptive fields, and planes of a condition."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close as close

from parts.errors import UserError
from parts.model.networks import NETWORKS, Conv1dEncoder, ConvDecoder, ConvEncoder, halved, mlp
from parts.training.adam import Adam

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 9, 13), (3, 32, 32), (2, 17, 8), (1, 128, 50)]
each_shape = pytest.mark.parametrize("shape", SHAPES)


def numbers(shape):
    return math.prod(shape)


@pytest.mark.parametrize("name", NETWORKS)
def test_both_halves_of_every_network_are_built_alike(name):
    network, shape = NETWORKS[name], (7, 3) if name == "conv1d" else (1, 8, 8)
    encoder = network.encoder(64 + 2, (4, 6, 10), 5, members=1, shape=shape)
    decoder = network.decoder(3 + 2, (10, 6, 4), 64, members=1, shape=shape)
    for half, x, out_dim in (
        (encoder, torch.randn(7, 66), 5),
        (decoder, torch.randn(2, 7, 5), 64),
    ):
        found = half(x.requires_grad_())
        assert found.shape == (*x.shape[:-1], out_dim)
        (gradient,) = torch.autograd.grad(found[..., 3, :].sum(), x)
        assert (gradient[..., 3, :] != 0).all()  # every input counts, that of other rows does not
        assert (gradient != 0).sum() == gradient[..., 3, :].numel()


@each_shape
@pytest.mark.parametrize(("planes", "extra"), [(1, 0), (2, 3)])
@pytest.mark.parametrize("channels", [(), (4,), (4, 6, 8)])
def test_pictures_of_any_size_go_in_and_come_out(shape, planes, extra, channels):
    """Sizes may be odd; an input is `planes` pictures, such as a mask's, and `extra` numbers."""
    in_dim = planes * numbers(shape) + extra
    encoder = ConvEncoder(in_dim, (*channels, 10), 5, shape=shape)
    decoder = ConvDecoder(3, (10, *channels[::-1]), planes * numbers(shape), shape=shape)
    x = torch.randn(2, 3, in_dim)
    assert encoder(x).shape == (2, 3, 5)
    assert encoder(x[0]).shape == (3, 5)
    close(encoder(x)[1, 2], encoder(x[1, 2:])[0], atol=1e-5, rtol=1e-4)  # a row for itself
    assert encoder(x[:, :0]).shape == (2, 0, 5)
    found = decoder(torch.randn(2, 3, 3))
    assert found.shape == (2, 3, planes * numbers(shape))
    gradients = torch.autograd.grad(found.square().sum(), list(decoder.parameters()))
    assert all(g.abs().max() > 0 for g in gradients)


@each_shape
def test_every_number_of_x_reaches_the_code_and_the_code_every_pixel(shape):
    in_dim = numbers(shape) + 1
    encoder = ConvEncoder(in_dim, (4, 6, 10), 5, shape=shape)
    x = torch.randn(1, in_dim, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder(x).square().sum(), x)
    assert (gradient != 0).float().mean() > 0.999
    assert gradient[0, -1] != 0
    decoder = ConvDecoder(3, (10, 6, 4), numbers(shape), shape=shape)
    assert (decoder(torch.randn(2, 3)).diff(dim=0) != 0).float().mean() > 0.999


@pytest.mark.parametrize("shape", [(1, 9, 8), (3, 9, 8)])
def test_the_encoder_is_its_convolutions_on_planes_that_are_slowest(shape):
    """The reference applies the convolutions in the ordinary order of memory."""
    encoder = ConvEncoder(2 * numbers(shape) + 3, (4, 6, 10), 5, shape=shape).double()
    x = torch.randn(7, 2 * numbers(shape) + 3).double()
    h = x[:, :-3].reshape(7, 2 * shape[0], 9, 8).contiguous()
    first, second = encoder.convs[0], encoder.convs[2]
    h = F.silu(F.conv2d(h, first.weight, first.bias, 2, 1))
    h = F.silu(F.conv2d(h, second.weight, second.bias, 2, 1))
    assert h.shape == (7, 6, 3, 2)
    h = torch.cat([torch.einsum("nchw->nhwc", h).reshape(7, -1), x[:, -3:]], 1)
    close(encoder(x), encoder.dense(h))


def test_the_decoder_is_its_convolutions_and_gives_planes_first():
    decoder = ConvDecoder(4, (10, 6, 5), 2 * 3 * 9 * 8, shape=(3, 9, 8)).double()
    z = torch.randn(2, 7, 4).double()
    h = decoder.dense(z.flatten(0, 1)).reshape(14, 3, 2, 6)
    h = F.silu(torch.einsum("nhwc->nchw", h).contiguous())
    first, second = decoder.convs[1], decoder.convs[3]
    h = F.silu(F.conv_transpose2d(h, first.weight, first.bias, 2, 1, output_padding=(0, 1)))
    assert h.shape == (14, 5, 5, 4)
    h = F.conv_transpose2d(h, second.weight, second.bias, 2, 1, output_padding=(0, 1))
    close(decoder(z), h.reshape(2, 7, -1))
    with torch.no_grad():  # a plane of its own for every last channel
        second.weight.zero_()
        second.bias.copy_(torch.arange(6.0))
    close(decoder(z[0, 0]).reshape(6, 72), torch.arange(6.0).double()[:, None].expand(6, 72))


def test_a_bright_spot_is_decoded_where_its_features_are():
    """With kernels that only copy, height and width are not exchanged."""
    decoder = ConvDecoder(2, (2, 1), 8 * 12, shape=(1, 8, 12))
    with torch.no_grad():
        decoder.convs[1].weight.fill_(1.0)
        decoder.convs[1].bias.zero_()
        decoder.dense[2].weight.zero_()
        features = decoder.dense[2].bias.zero_().view(4, 6)
        features[3, 1] = 5.0
        picture = decoder(torch.zeros(2)).view(8, 12)
    assert picture.nonzero().min(0).values.tolist() == [5, 1]
    assert picture.nonzero().max(0).values.tolist() == [7, 3]


def test_the_encoder_of_windows_has_columns_as_channels_and_steps_in_order():
    n_steps, n_each = 11, 2
    encoder = Conv1dEncoder(3 * 22 + 4, (4, 6, 10), 5, shape=(n_steps, n_each)).double()
    x = torch.randn(2, 7, 3 * 22 + 4).double()
    windows = torch.stack([x[..., i * 22 : (i + 1) * 22] for i in range(3)], -2)
    columns = windows.reshape(14, 3, n_steps, n_each)
    h = torch.cat([columns[:, i].mT for i in range(3)], 1)  # [14, 3 D, L]
    first, second = encoder.convs[0], encoder.convs[2]
    h = F.silu(F.conv1d(h, first.weight, first.bias, 2, 2))
    h = F.silu(F.conv1d(h, second.weight, second.bias, 2, 2))
    assert h.shape == (14, 6, 3)
    h = torch.cat([h.flatten(1), x.reshape(14, -1)[:, -4:]], 1)
    close(encoder(x), encoder.dense(h).reshape(2, 7, 5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (4,)}, "rows of shape (4,), expected (steps, columns)"),
        ({"shape": (4, 5), "members": 3}, "one member, not 3"),
        ({"shape": (4, 5), "hidden_dims": ()}, "no hidden dims"),
        ({"shape": (4, 6)}, "expected 3 windows of shape (4, 6)"),
    ],
)
def test_an_encoder_of_windows_refuses_what_is_none(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        Conv1dEncoder(60, **{"hidden_dims": (4, 8), "out_dim": 5} | options)


def test_the_order_of_memory_of_weights_is_the_ordinary_one():
    """The fused Adam reads weights and gradients by memory, so their strides must agree."""
    network, x = ConvEncoder(2 * 64, (4, 6, 10), 5, shape=(2, 8, 8)), torch.randn(16, 128)
    parameters, loss = list(network.parameters()), network(x).square().mean()
    assert all(p.is_contiguous() for p in parameters)
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
    expected = [p - 0.1 * g / (g.abs() + 1e-8) for p, g in zip(parameters, gradients, strict=True)]
    Adam(parameters, lr=0.1).step(loss)
    close(parameters, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("n_stages", [1, 3])
def test_a_signal_keeps_its_size_through_fresh_convolutions(n_stages):
    """Each layer doubles the variance before SiLU, which takes away more than half of it."""
    channels = (64,) * n_stages
    encoder = ConvEncoder(8 * 4096, (*channels, 10), 5, shape=(8, 64, 64))
    decoder = ConvDecoder(3, (10, *channels), 8 * 4096, shape=(8, 64, 64))
    size = 64 // 2**n_stages
    for convs, c, n in ((encoder.convs[:-1], 8, 64), (decoder.convs[1:], 64, size)):
        found = convs(torch.randn(8, c, n, n))
        assert 1 < found.std().item() < 1.6
        assert abs(found.mean().item()) < 0.2


def test_training_and_evaluation_are_the_same_function():
    network, x = ConvEncoder(64, (4, 10), 5, shape=(1, 8, 8)), torch.randn(3, 64)
    close(network.train()(x), network.eval()(x), atol=0, rtol=0)


def test_width_is_that_of_the_widest_map():
    assert ConvEncoder(784, (16, 32, 64), 5, shape=(1, 28, 28)).width == 16 * 14 * 14
    assert ConvEncoder(3 * 64, (2, 64), 5, shape=(3, 8, 8)).width == 3 * 64
    assert Conv1dEncoder(96, (8, 4, 9), 5, shape=(16, 2)).width == 8 * 8
    assert ConvDecoder(5, (64, 32, 16), 784, shape=(1, 28, 28)).width == 16 * 14 * 14


def test_sizes_are_halved_and_rounded_up():
    assert halved((28, 9), 3) == [(28, 9), (14, 5), (7, 3), (4, 2)]
    assert halved((28, 9), 0) == [(28, 9)]


def test_an_mlp_has_the_same_bits_and_names_whatever_the_shape():
    torch.manual_seed(1)
    layers = [torch.nn.Linear(4, 6), torch.nn.SiLU(), torch.nn.Linear(6, 3)]
    expected = torch.nn.Sequential(*layers).state_dict()
    for shape in (None, (1, 2, 2)):
        torch.manual_seed(1)
        close(mlp(4, [6], 3, shape=shape).state_dict(), expected, atol=0, rtol=0)


@pytest.mark.parametrize("build", [ConvEncoder, ConvDecoder])
def test_what_no_picture_fits_is_refused(build):
    def refused(match, in_dim=64, hidden_dims=(4, 10), out_dim=64, shape=(1, 8, 8), **options):
        with pytest.raises(UserError, match=match) as error:
            build(in_dim, hidden_dims, out_dim, shape=shape, **options)
        assert "\n" not in str(error.value)

    refused("one member, not 3; use network mlp", members=3)
    refused("no pictures, expected .*use network mlp", shape=None)
    refused(r"rows of shape \(20,\)", shape=(20,))
    refused("no hidden dims, expected .* 32 64 256", hidden_dims=())
    refused("63 numbers for pictures of shape .1, 8, 8.", in_dim=63, out_dim=63)


def test_an_encoder_wants_whole_pictures_and_a_decoder_no_number_more():
    with pytest.raises(UserError, match="192 numbers for pictures of shape"):
        ConvEncoder(192, (4, 10), 5, shape=(2, 8, 8))
    with pytest.raises(UserError, match="65 numbers for pictures of shape"):
        ConvDecoder(5, (10, 4), 65, shape=(1, 8, 8))
