"""p(x|z): the likelihoods by their names on the command line."""

from parts.model.likelihoods.discrete import Bernoulli
from parts.model.likelihoods.factors import FactorWindows
from parts.model.likelihoods.gaussian import Gaussian, StudentT
from parts.model.likelihoods.mixed import Mixed
from parts.model.likelihoods.ordered import Ordered
from parts.model.likelihoods.pixels import DiscretizedLogistic
from parts.model.likelihoods.windows import Windows

LIKELIHOODS = {
    "bernoulli": Bernoulli,
    "logistic": DiscretizedLogistic,
    "gaussian": Gaussian,
    "student": StudentT,
    "mixed": Mixed,
    "ordered": Ordered,
    "windows": Windows,
    "factors": FactorWindows,
}
LIKELIHOOD_OPTIONS = set().union(*(likelihood.options for likelihood in LIKELIHOODS.values()))
