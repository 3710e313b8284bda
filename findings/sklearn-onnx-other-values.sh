#!/usr/bin/env bash
# sklearn-onnx gives a tree's missing values to the wrong class, and averages neighbours whose distances are to be weights.
#
# Guess: a model that scikit-learn fits and the converter accepts gives the same classes, less float32's rounding; what it
# cannot express is refused, as the metric chebyshev is ("is not implemented").
# Seen with skl2onnx 1.20.0 (scikit-learn 1.9.1, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6):
#                                                            scikit-learn    ONNX
#   trees, fitted to 1, 2, 3 and NaN: classes 0, 0, 1, 0     0, 0, 1, 0      0, 0, 1, 1
#     DecisionTree, RandomForest and ExtraTrees alike
#     classes 0, 0, 1, 1                                     0, 0, 1, 1      0, 0, 1, 1
#   DecisionTreeRegressor, values 5, 6, 7, 5                 5, 6, 7, 5      5, 6, 7, 7
#   KNeighborsRegressor(2, weights="distance") of
#     x = 0, 1, 2, 10, at 9, 1 and 0.9                       9, 1, 0.9       6, 0.5, 0.5
#   KNeighborsClassifier, the same, classes 0, 1, 1, 0
#     at 9: of class 1                                       0.125           0.5
#   Normalizer("max") of 1, -4 and of -1, -2                 0.25, -1        1, -4
#                                                            -0.5, -1        1, 2
# The nodes of a tree have a mark for the side that missing values take; it is 0, the right side, in each. Nothing is
# printed. A sensor that fails in the field is such a value, and complete test data show no difference.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check skl2onnx==1.20.0 scikit-learn==1.9.1 onnx==1.23.2 \
    onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
venv/bin/python - 2>log <<'PROGRAM' || { cat log >&2; exit 1; }
import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.preprocessing import Normalizer
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor


def by_onnx(model, x, output=0):
    options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
    file = to_onnx(model, x[:1], options=options).SerializeToString()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {"X": x})[output]


def column(*values):
    return np.array(values, np.float32).reshape(-1, 1)


rows = []
gaps = column(1, 2, 3, np.nan)
many = np.repeat(gaps, 9, 0)
for classes, missing in (([0, 0, 1, 0], 1), ([0, 0, 1, 1], 1)):
    tree = DecisionTreeClassifier(random_state=0).fit(gaps, classes)
    rows.append(("DecisionTreeClassifier", tree.predict(gaps), classes, by_onnx(tree, gaps), [0, 0, 1, missing]))
    for kind in (RandomForestClassifier, ExtraTreesClassifier):
        forest = kind(9, random_state=0).fit(many, np.repeat(classes, 9))
        rows.append((kind.__name__, forest.predict(gaps), classes, by_onnx(forest, gaps), [0, 0, 1, missing]))
tree = DecisionTreeRegressor(random_state=0).fit(gaps, [5, 6, 7, 5])
rows.append(("DecisionTreeRegressor", tree.predict(gaps), [5, 6, 7, 5], by_onnx(tree, gaps), [5, 6, 7, 7]))

points, asked = column(0, 1, 2, 10), column(9, 1, 0.9)
model = KNeighborsRegressor(2, weights="distance").fit(points, [0, 1, 2, 10])
rows.append(("KNeighborsRegressor", model.predict(asked), [9, 1, 0.9], by_onnx(model, asked), [6, 0.5, 0.5]))
model = KNeighborsClassifier(2, weights="distance").fit(points, [0, 1, 1, 0])
rows.append(("KNeighborsClassifier", model.predict_proba(asked[:1])[0], [0.875, 0.125], by_onnx(model, asked[:1], 1), [0.5, 0.5]))

vectors = np.array([[1, -4], [-1, -2]], np.float32)
model = Normalizer("max").fit(vectors)
rows.append(("Normalizer", model.transform(vectors), [0.25, -1, -0.5, -1], by_onnx(model, vectors), [1, -4, 1, 2]))

for label, expected, by_sklearn, found, seen in rows:
    print(f"{label} | scikit-learn {np.ravel(expected).round(3)} | ONNX {np.ravel(found).round(3)}")
    assert np.allclose(np.ravel(expected), by_sklearn, atol=1e-3), "scikit-learn's behaviour has changed"
    assert np.allclose(np.ravel(found), seen, atol=1e-3), "skl2onnx's behaviour has changed"
PROGRAM
