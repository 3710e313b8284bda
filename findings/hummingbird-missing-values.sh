#!/usr/bin/env bash
# Hummingbird sends missing values to one side, forgets the exponential of a Poisson objective, and adds up a forest's trees.
#
# Guess: what the converter does not know it refuses, as categories, AdaBoost and XGBoost's random forests are.
# Seen with hummingbird-ml 0.4.12 (torch 2.13.0, scikit-learn 1.9.1, lightgbm 4.7.0, xgboost 3.2.0, numpy 2.4.6), its backend
# "torch", for 40 numbers in four groups, the last of which is missing in the first three rows. Predictions of each group:
#                                                        right                     Hummingbird
#   DecisionTreeRegressor                                0, 5, 0, 5                0, 5, 0, 0
#   HistGradientBoostingRegressor                        0, 5, 0, 5                0, 5, 0, 0
#   LGBMRegressor                                        0.3, 4.7, 0.3, 4.7        0.3, 4.7, 0.3, 0.3
#   HistGradientBoostingRegressor, loss="poisson"        1, 2, 3, 4                0, 0.7, 1.1, 1.4: the logarithm
#   LGBMRegressor, objective="poisson"                   1.2, 1.4, 1.6, 1.8        0.2, 0.3, 0.5, 0.6: the logarithm
#     objective="tweedie"                                the same
#     boosting_type="rf", 10 trees                       0, 0.5, 1.7, 2.2          0, 5, 17, 22
#     reg_sqrt=True, of 0, 1, 4, 9                       0, 1, 4, 9                0, 1, 2, 3
#   LGBMClassifier, sigmoid=3: the second class's        0.30, 0.30, 0.70, 0.70    0.43, 0.43, 0.57, 0.57
#   XGBClassifier, base_score=0.9: the second class's    0.04, 0.04, 0.95, 0.95    0.00, 0.00, 0.69, 0.69
# Nothing is printed. Sensors on small boards have missing values; a test on complete rows finds no difference.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check hummingbird-ml==0.4.12 torch==2.13.0 scikit-learn==1.9.1 \
    lightgbm==4.7.0 xgboost==3.2.0 numpy==2.4.6
cd "$folder"
venv/bin/python - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import numpy as np
from hummingbird.ml import convert
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.tree import DecisionTreeRegressor
from xgboost import XGBClassifier

EACH = [0, 10, 20, 30]  # one number of each group
complete = np.arange(40.0).reshape(-1, 1)
missing = np.where(complete < 30, complete, np.nan)
group = np.arange(40) // 10
half = (group > 1).astype(int)
odd = np.where(group % 2, 5.0, 0.0)


def both(model, x, y):
    """Train a model, and return its predictions of a number of each group beside those of the converted one."""
    model.fit(x, y)
    classes = hasattr(model, "predict_proba")
    converted = convert(model, "torch")
    predicted = [each.predict_proba(x)[:, 1] if classes else np.asarray(each.predict(x)).ravel() for each in (model, converted)]
    return [numbers[EACH] for numbers in predicted]


small = {"verbose": -1, "min_child_samples": 1, "min_data_in_bin": 1, "n_jobs": 1, "random_state": 0}
forest = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5, "n_estimators": 10, **small}
trees = {"n_estimators": 20, "n_jobs": 1, "random_state": 0}


def one_side(right):
    return np.array([*right[:3], right[0]])


def same(right):
    return right


for label, (right, converted), relation in [
    ("DecisionTreeRegressor", both(DecisionTreeRegressor(), missing, odd), one_side),
    ("HistGradientBoostingRegressor", both(HistGradientBoostingRegressor(min_samples_leaf=1), missing, odd), one_side),
    ("LGBMRegressor", both(LGBMRegressor(n_estimators=20, **small), missing, odd), one_side),
    ("LGBMRegressor, complete", both(LGBMRegressor(n_estimators=20, **small), complete, odd), same),
    ("HistGradientBoostingRegressor, poisson",
     both(HistGradientBoostingRegressor(loss="poisson", min_samples_leaf=1), complete, group + 1), np.log),
    ("LGBMRegressor, poisson", both(LGBMRegressor(objective="poisson", n_estimators=5, **small), complete, group), np.log),
    ("LGBMRegressor, tweedie", both(LGBMRegressor(objective="tweedie", n_estimators=5, **small), complete, group + 1), same),
    ("LGBMRegressor, rf", both(LGBMRegressor(**forest), complete, group), lambda right: 10 * right),
    ("LGBMRegressor, reg_sqrt", both(LGBMRegressor(reg_sqrt=True, n_estimators=50, **small), complete, group**2), np.sqrt),
    ("LGBMClassifier, sigmoid=3", both(LGBMClassifier(sigmoid=3.0, n_estimators=5, **small), complete, half),
     lambda right: 1 / (1 + ((1 - right) / right) ** (1 / 3))),
    ("XGBClassifier", both(XGBClassifier(**trees), complete, half), same),
    ("XGBClassifier, base_score=0.9", both(XGBClassifier(base_score=0.9, **trees), complete, half),
     lambda right: 1 / (1 + 9 * (1 - right) / right)),
]:
    print(f"{label} | right {right.round(3).tolist()} | Hummingbird {converted.round(3).tolist()}")
    assert np.allclose(relation(right), converted, atol=0.01), "the behaviour has changed"
PROGRAM
