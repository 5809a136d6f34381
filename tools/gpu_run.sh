#!/usr/bin/env bash
# Train on a machine that has a GPU, git and Python 3.11 to 3.13, and finish the run on this one.
#
#   bash tools/gpu_run.sh pack data/raw/fer2013.csv data/raw/fer2013new.csv     # here: writes build/gpu_run/
#   bash gpu_run/gpu_run.sh train best paper                                    # there, beside the copied folder
#   bash tools/gpu_run.sh finish gpu_run/trained-best.tar                       # here, on the branch of that run
#
# `pack` takes the last commit, the data (no second file: no votes), and with WHEELS=yes all packages (some gigabytes),
# for a machine that reaches no registry. `train` sets the profile in a clone of its own, trains each network as `dvc
# repro` does, for at most MINUTES (120) each, and packs what it has; run again, it goes on where it was stopped.
# Predictions, evaluation and exports gain little from a GPU; `finish` takes over parameters and trained networks, which
# say themselves where they were made, and runs the rest here.
set -euo pipefail

main() {
    case "${1:-}" in
        pack | train | finish) "$@" ;;
        *) sed -n 's/^#\( \|$\)//p' "$0" >&2 && exit 2 ;;
    esac
}

pack() {
    cd "$(dirname "$0")/.."
    [ $# = 1 ] || [ $# = 2 ] || fail "name the CSV of faces, then that of votes, if any"
    for file in "$@"; do [ -f "$file" ] && [[ $file = data/* ]] || fail "$file: not a file named data/..."; done
    [ -z "$(git status --porcelain)" ] || fail "the tree has changes; commit them first, as the last commit is packed"
    rm -rf build/gpu_run && mkdir -p build/gpu_run
    cp tools/gpu_run.sh build/gpu_run/
    cp --parents "$@" build/gpu_run/
    printf '%s\n' "$1" "${2:-data/no_votes.csv}" > build/gpu_run/names
    git bundle create --quiet build/gpu_run/fer.bundle HEAD
    if [ "${WHEELS:-}" = yes ]; then
        python3 -m pip download --quiet --dest build/gpu_run/wheels --requirement requirements.lock
    fi
    du -sh build/gpu_run
}

train() {
    [ $# -gt 0 ] || fail "name the profiles, such as best"
    cd "$(dirname "$0")"
    local here=$PWD faces votes networks
    [ -d fer ] || git clone --quiet fer.bundle fer
    cd fer
    if [ ! -e .venv/.ready ]; then
        "${PYTHON:-python3}" -m venv .venv
        if [ -d "$here/wheels" ]; then export PIP_NO_INDEX=1 PIP_FIND_LINKS=$here/wheels; fi
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
        touch .venv/.ready
    fi
    export PATH=$PWD/.venv/bin:$PATH
    cp -r "$here/data" .
    { read -r faces && read -r votes; } < "$here/names"
    sed -i "s#^dataset: [^ ]*#dataset: $faces#; s#^  votes: [^ ]*#  votes: $votes#" params.yaml
    networks=$(sed -n 's#^  \([a-z0-9_]*\): models/.*#\1#p' params.yaml)
    for profile in "$@"; do
        sed -i "s#^profile: [^ ]*#profile: $profile#" params.yaml
        dvc repro --quiet prepare
        for network in $networks; do
            timeout --signal INT "${MINUTES:-120}m" dvc repro --single-item "train_$network" ||
                echo "$profile: $network is not trained to its end; the same command goes on with it" >&2
        done
        git rev-parse HEAD > "$here/commit"
        [ -e metrics/timing.json ] || { mkdir -p metrics && echo '{}' > metrics/timing.json; }
        local archive=$here/trained-$profile.tar files=(params.yaml dvc.lock metrics/timing.json)
        for network in $networks; do
            if dvc status --quiet "train_$network"; then
                files+=("models/$network".* "metrics/train/$network.json" "plots/$network/history.csv")
            fi
        done
        tar --create --file "$archive" -C "$here" commit -C fer "${files[@]}"
        echo "$archive: $(tar --list --file "$archive" | grep -c ^models/) networks"
    done
}

finish() {
    local archive commit faces stages
    archive=$(realpath "${1:-}") && [ -f "$archive" ] || fail "name a trained-<profile>.tar that \`train\` has written"
    cd "$(dirname "$0")/.."
    commit=$(read_member commit)
    git diff --quiet "$commit" -- stages profiles dvc.yaml || fail "trained by the code of $commit; check it out"
    stages=$(tar --list --file "$archive" | sed -n 's#^models/\([^.]*\)\..*#train_\1#p')
    [ -n "$stages" ] || fail "the archive has no trained network; run \`train\` again, with more MINUTES"
    read_member params.yaml | cmp --silent - params.yaml || git diff --quiet HEAD -- params.yaml ||
        fail "params.yaml has changes that the archive's would replace; commit them or take them back"
    read_member params.yaml > params.yaml
    dvc repro --quiet prepare
    faces=$(md5sum data/prepared/faces.h5 | cut -d ' ' -f 1)
    [[ $(read_member dvc.lock) = *"md5: $faces"* ]] || fail "trained on other faces than those in data/"
    tar --extract --file "$archive" models metrics/train plots
    read_member metrics/timing.json | PYTHONPATH=stages python -c '
import json, pathlib, sys
from fer_pipeline.core.files import to_json, write_files
from fer_pipeline.running.timing import read_times
own = pathlib.Path("metrics/timing.json")
write_files({own: to_json(read_times(own) | json.load(sys.stdin))})'
    # shellcheck disable=SC2086  # one word per stage
    dvc commit --force --quiet $stages
    dvc repro
}

read_member() {
    tar --extract --to-stdout --file "$archive" "$1"
}

fail() {
    echo "error: $1" >&2
    exit 1
}

main "$@"
