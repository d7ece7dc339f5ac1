"""Fidelity of generated pictures, by a classifier of real ones and by nearest neighbours."""

import numpy as np

K_NEAREST = 3  # k of precision and recall (Kynkaanniemi et al. 2019, section 3)


def precision_recall(real, generated, k=K_NEAREST):
    """Share of `generated` rows in the manifold of `real` rows, and the reverse; both are [n, F].

    A manifold is the union of balls around rows, whose radius reaches the k-th nearest other row
    (Kynkaanniemi et al. 2019, eqs. 1 to 3).
    """
    return covered(generated, real, k), covered(real, generated, k)


def covered(rows, by, k=K_NEAREST):
    """Share of rows in the manifold of the rows `by`."""
    from scipy.spatial.distance import cdist

    radius = np.partition(cdist(by, by), k, axis=1)[:, k]  # place 0 is the row itself
    return float((cdist(rows, by) <= radius).any(1).mean())


def class_scores(probs):
    """Confidence, class entropy in nats, and inception score of class probabilities [n, C].

    Confidence is the mean of the largest probability, class entropy the entropy of the mean, and
    the inception score exp of the mean KL from the mean (Salimans et al. 2016).
    """
    log_probs = np.log(np.maximum(probs, 1e-12))
    mean = probs.mean(0)
    log_mean = np.log(np.maximum(mean, 1e-12))
    return {
        "confidence": float(probs.max(1).mean()),
        "class_entropy": float(-(mean * log_mean).sum()),
        "inception_score": float(np.exp((probs * (log_probs - log_mean)).sum(1).mean())),
    }


def classifier_two_sample_accuracy(real, generated, seed=0):
    """Accuracy of an SVM (Gaussian kernel) that separates real from generated rows; 0.5 is best.

    Both sets have equal size; the accuracy is the mean of a two-fold cross-validation.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.svm import SVC

    n = min(len(real), len(generated))
    x, y = np.concatenate([real[:n], generated[:n]]), np.repeat([0, 1], n)
    folds = StratifiedKFold(2, shuffle=True, random_state=seed)
    return float(cross_val_score(SVC(), x, y, cv=folds).mean())


class Judge:
    """A classifier of labelled pictures, and its hidden layer as the space to compare them in."""

    def __init__(self, x, labels, seed=0):
        from sklearn.neural_network import MLPClassifier

        self.model = MLPClassifier((128,), alpha=0.1, max_iter=1000, random_state=seed)
        self.model.fit(x, labels)

    def accuracy(self, x, labels):
        return float(self.model.score(x, labels))

    def features(self, x):
        """The activations of the hidden layer, [n, F]."""
        return np.maximum(x @ self.model.coefs_[0] + self.model.intercepts_[0], 0)

    def scores(self, generated, real, seed=0):
        """All scores of `generated` pictures against `real` ones, as a dict."""
        real = real[: len(generated)]
        precision, recall = precision_recall(self.features(real), self.features(generated))
        return class_scores(self.model.predict_proba(generated)) | {
            "told_apart": classifier_two_sample_accuracy(real, generated, seed),
            "precision": precision,
            "recall": recall,
        }
