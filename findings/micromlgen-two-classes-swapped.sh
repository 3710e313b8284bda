#!/usr/bin/env bash
# micromlgen swaps the classes of a logistic regression with two, and counts a forest's votes modulo 256.
#
# Guess: the C++ code names the class that scikit-learn names, as it does for three classes; a yes-or-no question is the
# simplest case.
# Seen with micromlgen 1.1.28 (scikit-learn 1.9.1, numpy 2.4.6), GCC, for the flowers of Fisher's iris, the code against
# scikit-learn:
#   LogisticRegression, three classes                        150 of 150 equal
#                       setosa or versicolor                 0 of 100 equal: each answer is the other class
#   RandomForestClassifier, versicolor or virginica
#     200 trees                                              100 of 100 equal
#     300 trees                                              98 of 100 equal; uint8_t votes[2]: 260 votes are 4
# A decision above 0 means the second class in scikit-learn. The code adds it to the votes of the first, and gives the second
# 0. Nothing is reported, and an accuracy of 0 % looks like a mistake in reading the sensor.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check micromlgen==1.1.28 scikit-learn==1.9.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PROGRAM'
import re
import subprocess

import numpy as np
from micromlgen import port
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

MAIN = """#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
using namespace std;
%s
int main() {
    Eloquent::ML::Port::%s model;
    float x[4];
    while (scanf("%%f %%f %%f %%f", x, x + 1, x + 2, x + 3) == 4) printf("%%d\\n", model.predict(x));
}
"""


def compiled(model, flowers):
    code = port(model)
    with open("model.cpp", "w") as file:
        file.write(MAIN % (code, re.search(r"class (\w+)", code).group(1)))
    subprocess.run(["g++", "-w", "-o", "model", "model.cpp"], check=True)
    lines = "\n".join(" ".join(f"{x:.9g}" for x in flower) for flower in flowers)
    answers = subprocess.run(["./model"], input=lines, check=True, capture_output=True, text=True).stdout
    return np.array(answers.split(), int)


flowers, kinds = load_iris(return_X_y=True)
flowers = flowers.astype(np.float32)
for label, model, chosen, least, most in [
    ("logistic regression, three classes", LogisticRegression(max_iter=1000), kinds >= 0, 150, 150),
    ("logistic regression, two classes", LogisticRegression(max_iter=1000), kinds < 2, 0, 0),
    ("200 trees", RandomForestClassifier(200, random_state=0), kinds > 0, 100, 100),
    ("300 trees", RandomForestClassifier(300, random_state=0), kinds > 0, 80, 99),
]:
    x, y = flowers[chosen], kinds[chosen] - kinds[chosen].min()
    model.fit(x, y)
    equal = int(np.sum(compiled(model, x) == model.predict(x)))
    print(f"{label}: {equal} of {len(x)} answers are scikit-learn's")
    assert least <= equal <= most, "the behaviour has changed"
PROGRAM
