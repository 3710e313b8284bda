#!/usr/bin/env bash
# onnxmltools divides LightGBM's random forests by 100, forgets four more of its options, and leaves out XGBoost's last step.
#
# Guess: an objective or a kind of trees that the converter does not know is refused, as mape, fair, linear boosters and
# DART of XGBoost are.
# Seen with onnxmltools 1.16.0 (lightgbm 4.7.0, xgboost 3.2.0, scikit-learn 1.9.1, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6)
# for 40 numbers in four groups; the predictions of one number of each group:
#                                                 LightGBM, XGBoost         ONNX
#   boosting_type="rf", 10 trees                  0, 0.5, 1.7, 2.2          0, 0.05, 0.17, 0.22
#     a classifier: the second class's            0.12, 0.12, 0.69, 0.88    0, 0, 0.01, 0.01
#   reg_sqrt=True                                 0, 1, 4, 9                0, 1, 2, 3
#   linear_tree=True, of y = x                    0.1, 10, 20, 30           0.3, 10.2, 20, 30.4
#   sigmoid=3, classes                            0.30, 0.30, 0.70, 0.70    0.43, 0.43, 0.57, 0.57
#   objective="multiclassova": the right class's  0.56                      0.71: a softmax
#   zero_as_missing=True: the zeros'              5                         0
#   XGBoost: reg:logistic                         0.05, 0.19, 0.66, 0.95    -2.5, -1, 1.2, 3.5
#            two outputs, y and 10 y              0 and 0 ... 3 and 30      -15 and 0 ... 18 and 0
#            XGBRFClassifier of four classes      0.83                      0.25 for all classes
#            multi:softmax                        0.95                      2.6 as the probability
# Nothing is printed. The forest is right for 100 trees, whose number is not read. The order of the predictions stays in
# most rows, so that a rank correlation finds no difference.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxmltools==1.16.0 lightgbm==4.7.0 xgboost==3.2.0 \
    scikit-learn==1.9.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
venv/bin/python - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import lightgbm
import numpy as np
import onnxmltools
import onnxruntime
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

EACH = [0, 10, 20, 30]  # one number of each group


def by_onnx(model, x):
    """Return what the converted model gives for x: its last output, the probabilities of a classifier."""
    start, options = [("x", FloatTensorType([None, 1]))], {}
    convert = onnxmltools.convert_xgboost
    if isinstance(model, lightgbm.LGBMModel):
        convert = onnxmltools.convert_lightgbm
        options = {"zipmap": False}
    converted = convert(model, initial_types=start, **options)
    session = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x.astype(np.float32)})[-1]


def both(model, y, x=None):
    """Train a model, and return its predictions of a number of each group beside those of the converted one."""
    x = np.arange(40.0).reshape(-1, 1) if x is None else x
    model.fit(x, y)
    predict = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    return predict(x)[EACH], by_onnx(model, x)[EACH].reshape(predict(x)[EACH].shape)


def right_class(pair):
    return [np.diag(probabilities) for probabilities in pair]


def second_class(pair):
    return [probabilities[:, 1] for probabilities in pair]


group = np.arange(40) // 10
half = (group > 1).astype(int)
small = {"verbose": -1, "min_child_samples": 1, "min_data_in_bin": 1, "n_jobs": 1, "random_state": 0}
forest = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5, **small}
trees = {"n_estimators": 20, "n_jobs": 1, "random_state": 0}
Regressor, Classifier = lightgbm.LGBMRegressor, lightgbm.LGBMClassifier
zeros = np.r_[-np.arange(20.0, 0, -1), np.zeros(15), np.arange(1, 6.0)].reshape(-1, 1)
with_zeros = np.where((zeros[:, 0] == 0) | (zeros[:, 0] > 3), 5, 0)

tens = both(Regressor(n_estimators=10, **forest), group)
hundred = both(Regressor(n_estimators=100, **forest), group)
two = both(xgboost.XGBRegressor(**trees), np.stack([group, 10 * group], 1))
for label, (right, converted), relation in [
    ("rf, 10 trees", tens, lambda right: right / 10),
    ("rf, 100 trees", hundred, lambda right: right),
    ("rf, classes", second_class(both(Classifier(n_estimators=10, **forest), half)), None),
    ("reg_sqrt", both(Regressor(reg_sqrt=True, n_estimators=50, **small), group**2), np.sqrt),
    ("linear_tree", both(Regressor(linear_tree=True, n_estimators=50, **small), np.arange(40.0)), None),
    ("sigmoid=3", second_class(both(Classifier(sigmoid=3.0, n_estimators=5, **small), half)),
     lambda right: 1 / (1 + ((1 - right) / right) ** (1 / 3))),
    ("sigmoid=1", second_class(both(Classifier(n_estimators=5, **small), half)), lambda right: right),
    ("multiclassova", right_class(both(Classifier(objective="multiclassova", n_estimators=5, **small), group)), None),
    ("multiclass", right_class(both(Classifier(n_estimators=5, **small), group)), lambda right: right),
    ("zero_as_missing", 
     both(Regressor(zero_as_missing=True, n_estimators=50, num_leaves=2, **small), with_zeros, zeros), None),
    ("reg:logistic", both(xgboost.XGBRegressor(objective="reg:logistic", **trees), group / 3),
     lambda right: np.log(right / (1 - right)) + 0.5),
    ("two outputs", two, None),
    ("XGBRFClassifier", right_class(both(xgboost.XGBRFClassifier(**trees), group)), lambda right: right * 0 + 0.25),
    ("multi:softmax", right_class(both(xgboost.XGBClassifier(objective="multi:softmax", **trees), group)), None),
]:
    print(label, "|", right.round(3).tolist(), "| ONNX", converted.round(3).tolist())
    if relation is None:
        assert not np.allclose(right, converted, atol=0.05), "the behaviour has changed"
    else:
        assert np.allclose(relation(right), converted, atol=0.02), "the behaviour has changed"
assert np.all(two[1][:, 1] == 0), "the second output is not empty"
PROGRAM
