"""Pictures: folders, arrays [N, H, W] or [N, C, H, W], idx files, and built-in sets."""

from pathlib import Path

import numpy as np

from parts.errors import UserError
from parts.files import as_argument
from parts.forms import arrays, conditions, scaling, units
from parts.forms.base import Codec, Form
from parts.forms.pictures import picture_files, shapes, sheets
from parts.forms.tables import samples, table_files

N_ODD, N_ODD_ACROSS = 40, 8  # pictures on a sheet of odd ones, and in each of its rows
N_FILLED, N_SHOWN_DRAWS = 16, 2  # pictures on a sheet of filled ones, and draws of each picture
N_GENERATED = 100  # pictures on a sheet of generated ones
N_FOR_GREY = 1000  # training pictures that decide the colour map of grey values


class PictureCodec(Codec):
    """The codec of pictures: every pixel is a column, of which only the scaling is saved."""

    def is_far_out(self, x):
        """False throughout, because a pixel that is seldom lit has a large scaled value."""
        return np.zeros(x.shape, bool)

    def to_dict(self):
        plain = {"form": self.form, "shape": list(self.shape)}
        given = [column.to_dict() for column in self.conditions]
        scales = [(column.shift, column.scale) for column in self.modelled]
        if set(scales) != {(0.0, 1.0)}:
            plain["shift"], plain["scale"] = map(list, zip(*scales, strict=True))
        return plain | ({"conditions": given} if given else {})

    @classmethod
    def from_dict(cls, plain):
        shape = tuple(plain["shape"])
        names = shapes.names(shape)
        shift = plain.get("shift", [0.0] * len(names))
        scale = plain.get("scale", [1.0] * len(names))
        pixels = [units.Column(*each) for each in zip(names, shift, scale, strict=True)]
        given = [units.Column(**column) for column in plain.get("conditions", [])]
        return cls(plain["form"], pixels + given, shape)


class Pictures(Form):
    """Grey and colour pictures of one size, whose pixels are the columns."""

    name = "pictures"
    row, rows = "picture", "pictures"
    codec = PictureCodec
    cells, files = "pixels", "pictures"
    default_pixels = None
    check = "quarters"
    compares = "copies"
    walks = True
    holds_rates = True
    n_drawn = N_SHOWN_DRAWS
    default_samples = "generated.npz"

    def recognises(self, path, config=None):
        return picture_files.holds_pictures(path)

    def read(self, path, config=None, holes=False):
        size, grey = (None, False) if config is None else (config.image_size, config.grey)
        return picture_files.read(path, size, grey, holes)

    def default_likelihood(self, path):
        return "bernoulli"

    def settings_of(self, verb, path):
        if verb == "generate":
            raise UserError(
                f"{path} holds pictures, which need a run: train one by python train.py --data "
                f"{as_argument(path)} --run NAME, and then python generate.py --run NAME"
            )
        raise UserError(
            f"{path} holds pictures, which need a run: train one on complete pictures, as by "
            "python train.py --data DATA --hide-rate 0.9 --run NAME, and add --run NAME"
        )

    def refuse(self, config):
        if config.scaling == "kinds":
            raise UserError(
                f"--likelihood mixed and ordered take tables, and --data {config.data} holds "
                f"pictures; use --likelihood {self.default_likelihood(config.data)}"
            )

    def refuse_other_data(self, source, codec):
        if tuple(source.shape) != tuple(codec.shape):
            raise UserError(
                f"{source.path} holds {shapes.describe(source.shape)}, and the run was trained on "
                f"{shapes.describe(codec.shape)}"
            )

    # Describe

    def describe_run(self, codec):
        return f"{shapes.describe(codec.shape)}; give an array [N, H, W] or a folder"

    def describe_shape(self, shape):
        return f"{shapes.describe(shape)}, "

    def describe_ranges(self, data, source, rows):
        return [f"  pixels: from {data.train.x.min():g} to {data.train.x.max():g}"]

    def column_facts(self, data):
        return {}  # single pixels say little

    def describe_columns(self, codec):
        return [
            (column.name, "given", column.describe())
            for column in codec.columns
            if column.condition
        ]

    # Score

    def score_outputs(self, path, out, overwrite):
        outputs = super().score_outputs(path, out, overwrite)
        # Among the pictures that are scored a sheet must not be taken for one of them.
        inside = Path(path).resolve() in outputs[0].resolve().parents
        sheet = outputs[0].with_suffix(".scored.png" if inside else ".png")
        sheets.refuse_existing(sheet, overwrite, outputs[0])
        return [*outputs, sheet]

    def write_scores(self, source, codec, scored, outputs, fitted):
        (out, sheet), frame = outputs, source.table()
        if Path(source.path).is_dir():
            inside = [path.as_posix() for path in picture_files.list_pictures(source.path)]
            frame.insert(1, "file", inside)
        frame = frame.assign(**scored)
        table_files.write(frame, out, table_files.File(out, frame.iloc[:0]))
        order = np.argsort(scored["anomaly_rank"])[:N_ODD]
        odd = scaling.to_unit_interval(source.x[order])
        shown = sheets.as_colour(odd, codec.shape, self.colours(codec, fitted))
        sheets.write(sheet, sheets.rows_of(shown, min(N_ODD_ACROSS, len(shown))))
        return [f"Wrote {out}", f"Wrote {sheet}: the oddest, row by row"]

    def scored_arrays(self, source, codec, rank, fitted):
        odd = scaling.to_unit_interval(source.x[np.argsort(rank)[:N_ODD]])
        return {"odd": shapes.as_bytes(odd)} | self._look(codec, fitted)

    def _look(self, codec, fitted):
        """What figures need to draw pictures."""
        colours = self.colours(codec, fitted)
        return {"shape": np.array(codec.shape), "grey_map": np.array(colours)}

    def colours(self, codec, fitted):
        """The colour map for grey pictures like the training pictures."""
        return shapes.grey_map(codec.decode(fitted.train.x))

    # Fill

    def fill_outputs(self, path, out, n_draws, overwrite):
        if Path(path).is_dir():
            raise UserError(f"{path} is a folder, whose pictures have no holes; give an array")
        outputs = super().fill_outputs(path, out, n_draws, overwrite)
        for each in outputs:
            if each.suffix.lower() not in arrays.ARRAY_READERS:
                raise UserError(
                    f"--out {each}: expected a name ending in .npy or .npz for pictures"
                )
        sheets.refuse_existing(outputs[0].with_suffix(".png"), overwrite, outputs[0])
        return outputs

    def refuse_filling(self, source, outputs, statistic, interval):
        if interval or statistic != "mean":
            raise UserError(
                "--interval and --statistic go with tables: pixels are filled by the mean"
            )

    def notes_on_filling(self, encoded, codec, fitted):
        if fitted.config.training.hide_rate:
            return []
        return [
            f"run {fitted.name} was trained on whole pictures; --hide-rate 0.9 makes better fills"
        ]

    def write_filled(self, source, codec, holes, todo, filled, outputs, fitted):
        at, arrays_out = holes[todo], []
        for values in (filled.values, *filled.draws):
            array = source.original.copy()
            some = array.reshape(holes.shape)[todo]
            some[at] = values[at]
            array.reshape(holes.shape)[todo] = some
            arrays_out.append(array)
        for path, array in zip(outputs, arrays_out, strict=False):
            arrays.write(path, array, source.as_written)
        lines = [f"Wrote {path}" for path in outputs]
        if len(todo):
            shown = [source.original, *arrays_out[: 1 + N_SHOWN_DRAWS]]
            shown = np.stack([a.reshape(holes.shape)[todo[:N_FILLED]] for a in shown])
            sheet = outputs[0].with_suffix(".png")
            sheets.write(sheet, sheets.as_colour(shown, codec.shape, self.colours(codec, fitted)))
            lines.append(f"Wrote {sheet}: as it was, filled, and two draws")
        return lines

    def fills_in_words(self, codec, n_filled, sure):
        return []  # single pixels say little

    def filled_arrays(self, source, codec, holes, todo, filled, fitted):
        """The first filled pictures as they were, filled, and drawn, as bytes [n, N, D]."""
        some, n = todo[:N_FILLED], len(todo[:N_FILLED])
        if not n:
            return {}
        hole, x = holes[some], scaling.to_unit_interval(source.x[some])
        made = [filled.values, *filled.draws[:N_SHOWN_DRAWS]]
        shown = np.stack([x, *[np.where(hole, values[:n], x) for values in made]])
        marked = np.zeros(shown.shape, bool)
        marked[0] = hole
        return {"filled": shapes.as_bytes(shown), "hole": marked} | self._look(codec, fitted)

    # Generate

    def refuse_pixels(self, asked, run):
        """Pictures take every value of --pixels."""

    def describe_samples(self, fitted, x_of):
        likelihood = fitted.model.likelihood
        if x_of == likelihood.sample:
            return ["Pixels are drawn from p(x|z) (--pixels mean: its mean)"]
        of = ", as grey values were probabilities" if likelihood.are_rates(fitted.train.x) else ""
        return [f"Pixels are the mean of p(x|z){of} (--pixels drawn: a draw from it)"]

    def sample_outputs(self, out, overwrite):
        out = Path(out or self.default_samples)
        table_files.refuse_output(out, overwrite)
        sheet = out.with_suffix(".png")
        sheets.refuse_existing(sheet, overwrite, out)
        return [out, sheet]

    def write_samples(self, x, mask, y, codec, given, outputs, fitted):
        out, sheet = outputs
        if out.suffix.lower() in arrays.ARRAY_READERS:
            lines = [self._write_array(codec.decode(x), y, codec, out)]
        else:
            rows = conditions.with_conditions_as_columns(x, mask, y, codec.conditions)
            frame = samples.as_frame(*rows, codec.columns).assign(**given)
            lines = [samples.write(frame, codec.columns, out)]
        shown = codec.decode(x[:N_GENERATED])
        sheets.write(sheet, sheets.square_of(shown, codec.shape, self.colours(codec, fitted)))
        return [*lines, f"Wrote {sheet}"]

    def _write_array(self, x, y, codec, out):
        """Write pictures in the user's units as an array, with their labels as y."""
        others, fixed = {}, codec.conditions
        if fixed:
            label, known = (part[:, 0] for part in conditions.from_y(y, fixed))
            texts = np.where(known > 0, samples.texts(fixed[0], label), "")
            others = {"y": conditions.as_labels(texts)}
        pixels = shapes.unflattened(x.astype(np.float32), codec.shape)
        arrays.write(out, pixels, {"others": others})
        named = " and y" if others and out.suffix.lower() == ".npz" else ""
        return f"Wrote {out}: {len(x)} {shapes.describe(codec.shape)}{named}"

    def sample_arrays(self, x, codec, fitted):
        drawn = shapes.as_bytes(codec.decode(x[:N_GENERATED]))
        return {"drawn": drawn} | self._look(codec, fitted)

    # Figures

    def figures(self):
        from parts.forms.pictures.figures import PICTURE_FIGURES

        return PICTURE_FIGURES

    def figure_arrays(self, data, figures):
        found, codec = super().figure_arrays(data, figures), data.codec
        walked = [name for name in WALKS if name in figures]
        found |= {name: shapes.as_bytes(codec.decode(figures[name])) for name in walked}
        colours = shapes.grey_map(codec.decode(data.train.x[:N_FOR_GREY]))
        return found | {"grey_map": np.array(colours)}

    def point_arrays(self, data, n, columns):
        return super().point_arrays(data, n, [])  # single pixels do not colour points


# Arrays of evaluate.py that hold pictures.
WALKS = ("latent_traversal", "interpolations", "manifold")

PICTURES = Pictures()
