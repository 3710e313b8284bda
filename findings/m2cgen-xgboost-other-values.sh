#!/usr/bin/env bash
# m2cgen generates all trees of an XGBoost model that stopped early, the logarithm of a rate, and the sum of two outputs.
#
# Guess: what the generator does not know it refuses; the trees are those of predict().
# Seen with m2cgen 0.10.0 (xgboost 3.2.0, lightgbm 4.7.0, scikit-learn 1.9.1, numpy 2.4.6), export_to_python,
# for 40 numbers in four groups, XGBoost with base_score=0.5; predictions of one number of each group:
#                                            predict()                      m2cgen
#   XGBRegressor                             0, 1, 2, 3                     0, 1, 2, 3
#     that stopped after its first tree      0.36, 0.64, 0.91, 1.18         0.02, 0.98, 1.95, 2.92: of 11 trees
#   XGBClassifier that did: second class     0.38, 0.38, 0.62, 0.62         0.05, 0.05, 0.95, 0.95: of 11 trees
#   objective="count:poisson"                0.98, 1.93, 2.86, 3.77         1.17, 1.85, 2.24, 2.52: 0.5 + log(2 * rate)
#     "reg:gamma", "reg:tweedie"             1, 2, 3, 4                     1.19, 1.88, 2.29, 2.58: the same
#     "reg:logistic"                         0.05, 0.19, 0.66, 0.95         -2.53, -0.96, 1.18, 3.53
#   booster="dart", rate_drop=0.5            0.06, 0.94, 1.81, 2.69         -1.13, 2.13, 5.39, 8.65
#   missing=0: the zeros' value is 5         5, 0, 0, 0                     0, 0, 0, 0
#   two outputs, y and 10 y                  0 and 0 ... 3 and 30           -0.5 ... 32.4: the sum, less 0.5
#   LGBMRegressor, linear_tree=True          0, 10, 20, 30                  0.2, 10.1, 20, 30.4
#   DecisionTreeRegressor, y and 10 y        0 and 0 ... 3 and 30           0, 1, 2, 3: the first
# Nothing is printed. LightGBM's early stopping and Poisson objective are right. So the code of a model that stopped early has
# the trees that the validation set was to keep out.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check m2cgen==0.10.0 xgboost==3.2.0 lightgbm==4.7.0 \
    scikit-learn==1.9.1 numpy==2.4.6
cd "$folder"
venv/bin/python - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import lightgbm
import m2cgen
import numpy as np
from sklearn.tree import DecisionTreeRegressor
from xgboost import XGBClassifier, XGBRegressor

EACH = [0, 10, 20, 30]  # one number of each group


def both(model, y, x=None, every_tree=False, **options):
    """Train a model; return its predictions for a number of each group, and those of the generated code.

    With every_tree, the first are those of all trees instead of the best ones.
    """
    x = np.arange(40.0).reshape(-1, 1) if x is None else x
    model.fit(x, y, **options)
    predict = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    right = predict(x[EACH], iteration_range=(0, model.get_booster().num_boosted_rounds())) if every_tree else predict(x[EACH])
    code, names = m2cgen.export_to_python(model), {}
    assert code.count("else:") == m2cgen.export_to_c(model).count("else {"), "the C code has other trees"
    exec(code, names)
    return right, np.array([names["score"](list(row)) for row in x[EACH]])


def rate(right):
    return np.log(right) - np.log(0.5) + 0.5


def log_odds(right):
    return np.log(right / (1 - right)) + 0.5


def same(right):
    return right


group = np.arange(40) // 10
half = (group > 1).astype(int)
x = np.arange(40.0).reshape(-1, 1)
trees = {"n_estimators": 20, "n_jobs": 1, "random_state": 0, "base_score": 0.5}
early = trees | {"n_estimators": 100, "early_stopping_rounds": 10}
unlike = {"eval_set": [(x, 3 - group)], "verbose": False}  # which stops after the first tree
unlike_half = {"eval_set": [(x, 1 - half)], "verbose": False}
small = {"verbose": -1, "min_child_samples": 1, "min_data_in_bin": 1, "n_jobs": 1, "random_state": 0}
stop = {"eval_set": [(x, 3 - group)], "callbacks": [lightgbm.early_stopping(10, verbose=False)]}
two = np.stack([group, 10 * group], 1)
Forest = lightgbm.LGBMRegressor
for label, (right, found), relation in [
    ("XGBRegressor", both(XGBRegressor(**trees), group), same),
    ("XGBRegressor, early stopping", both(XGBRegressor(**early), group, **unlike), None),
    ("  with all its trees", both(XGBRegressor(**early), group, every_tree=True, **unlike), same),
    ("XGBClassifier, early stopping", both(XGBClassifier(**early), half, **unlike_half), None),
    ("  with all its trees", both(XGBClassifier(**early), half, every_tree=True, **unlike_half), same),
    ("count:poisson", both(XGBRegressor(objective="count:poisson", **trees), group + 1), rate),
    ("reg:gamma", both(XGBRegressor(objective="reg:gamma", **trees), group + 1), rate),
    ("reg:tweedie", both(XGBRegressor(objective="reg:tweedie", **trees), group + 1), rate),
    ("reg:logistic", both(XGBRegressor(objective="reg:logistic", **trees), group / 3), log_odds),
    ("dart", both(XGBRegressor(booster="dart", rate_drop=0.5, **trees), group), None),
    ("missing=0", both(XGBRegressor(missing=0, **trees), 5 * (group == 0), np.where(x < 10, 0, x)), None),
    ("two outputs", both(XGBRegressor(**trees), two), lambda right: right.sum(axis=1) - 0.5),
    ("LGBMRegressor", both(Forest(**small), group), same),
    ("LGBMRegressor, early stopping", both(Forest(**small), group, **stop), same),
    ("LGBMRegressor, poisson", both(Forest(objective="poisson", **small), group), same),
    ("LGBMRegressor, linear_tree", both(Forest(linear_tree=True, **small), np.arange(40.0)), None),
    ("DecisionTreeRegressor", both(DecisionTreeRegressor(random_state=0), group), same),
    ("DecisionTreeRegressor, two outputs", both(DecisionTreeRegressor(random_state=0), two), lambda right: right[:, 0]),
]:
    print(label, "|", np.round(right.astype(float), 2).tolist(), "| m2cgen", found.round(2).tolist())
    if relation is None:
        assert right.shape == found.shape and not np.allclose(right, found, atol=0.05), "the behaviour has changed"
    else:
        assert np.allclose(relation(right), found, atol=0.01), "the behaviour has changed"
PROGRAM
