#!/bin/sh
# Segment two images with the embedded model: a stained tissue section that comes with scikit-image, and a simulated
# field of nuclei with known truth, which is scored. Each command is printed before it runs.
set -eu
output=${1:-demo_output}
bin=${BIN:-.venv/bin}
rm -rf "$output"
mkdir -p "$output"
section=$("$bin"/python -c 'import pathlib, skimage; print(pathlib.Path(skimage.__file__).parent / "data" / "ihc.png")')

run() {
    echo
    echo "\$ $*"
    "$bin/$@"
}

run dinocell segment "$section" --output "$output/tissue"
run dinocell simulate "$output/field.ome.tif" --labels "$output/truth/field.tif" --objects nuclei --num-cells 200 --diameter 32 --nucleus-fraction 0.9 --seed 1
run dinocell segment "$output/field.ome.tif" --channel DNA --output "$output/field"
run dinocell eval "$output/truth" "$output/field" --output "$output/field/score"

echo
echo "Look at these pictures:"
echo "  $output/tissue/ihc_overlay.png      immunohistochemistry, 512 x 512, from scikit-image"
echo "  $output/field/field_overlay.png    simulated nuclei, scored in $output/field/score/summary.json"
