#!/bin/sh
# Put another release of plotly.js's basic bundle (bars and scatter, no WebGL, no maps) where the
# HTML report embeds it from, with its licence. The unit tests pin the file by its SHA-256.
#
# usage: renew_plotly.sh VERSION
set -eu
version=$1
folder=$(dirname "$0")/../pibench/report/html
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
archive=$(npm pack --silent --pack-destination "$scratch" "plotly.js-basic-dist-min@$version")
tar -xzf "$scratch/$archive" -C "$scratch"
cp "$scratch/package/plotly-basic.min.js" "$folder/plotly-basic.min.js"
cp "$scratch/package/LICENSE" "$folder/plotly-basic.LICENSE"
sha256sum "$folder/plotly-basic.min.js"
