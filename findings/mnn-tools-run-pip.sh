#!/bin/sh
# MNN's command-line tools run `pip install` for a log client whenever they start, even to print their version.
#
# Guess: `mnnconvert --version` prints the version. A tool that lacks an optional package does without it, or names it.
# Seen with MNN 3.6.1 (numpy 2.4.6): the line `pip install -U aliyun-log-python-sdk` runs twice, with whichever pip
# comes first on PATH. Outside of an activated environment that is another Python's: the package and what it depends on
# are installed or upgraded there, and MNN still does not find them. Here a pip that only writes down its arguments
# comes first. Put such a pip on PATH, or import `_tools` from the package, to convert without it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check MNN==3.6.1 numpy==2.4.6
mkdir "$folder/first"
cat >"$folder/first/pip" <<SCRIPT
#!/bin/sh
echo "pip \$*" >>"$folder/asked"
exit 1
SCRIPT
chmod +x "$folder/first/pip"
PATH="$folder/first:$PATH" "$folder/venv/bin/mnnconvert" --version
cat "$folder/asked"
test "$(grep -c '^pip install -U aliyun-log-python-sdk$' "$folder/asked")" -eq 2
