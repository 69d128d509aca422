"""Is a decoder that reads eyes warned of, and one that does not left in peace? Blinks added to real recordings tell.

    python benchmarks/eyes.py --data DIR

To the runs of left and right hand movements of EEGMMIDB (DIR/eegmmidb_mi) blinks of 100 uV at Fp are added about
1.3 s after 95 % of the right and 5 % of the left cues, smaller at each channel by its distance to Fp1 or Fp2. With
them and without, an LDA on amplitudes above 0.5 Hz is trained, and explained by runs that it did not see. Prints
Markdown: what `rtdecode explain` says of each.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import mne
import numpy as np

from rtdecode.recording import Recording, read_recording

PEOPLE = ("001", "002", "005", "006", "009", "010")
LEARNED, LOOKED_AT = (3, 4, 7, 8), (11, 12)
PEAK_UV, WIDTH_S, AFTER_S, JITTER_S = 100.0, 0.1, 1.3, 0.1
SHARE_OF = {"right": 0.95, "left": 0.05}
# Of the distance from Fp1 or Fp2, in metres, at which a blink is smaller by e.
FALLS_M = 0.1
CONFIGURATION = """
name: eyes
recordings: {{pattern: "{kind}-{person}-run-{{run}}.npz"}}
channels: {{types: [eeg]}}
trials: {{classes: {{left: [left], right: [right]}}, tmin_s: 0.5, tmax_s: 3.5}}
window: {{length_s: 3.0, stride_s: 0.5, hop_s: 0.1}}
preprocessing: [{{step: filter, l_freq: 0.5, h_freq: 40, order: 2}}]
model: {{network: lda, settings: {{pooling: 40}}}}
split: {{kind: held-out-runs, held_out: {{run: {held_out}}}}}
"""


def with_blinks(recording: Recording, rng: np.random.Generator) -> Recording:
    """Return it with a blink after most right cues and few left ones."""
    sfreq, names = recording.signal.sfreq, recording.signal.ch_names
    place = mne.channels.make_standard_montage("biosemi64").get_positions()["ch_pos"]
    eyes = np.array([place["Fp1"], place["Fp2"]])
    size = [np.exp(-np.linalg.norm(eyes - place[name], axis=1).min() / FALLS_M) for name in names]
    reach = round(4 * WIDTH_S * sfreq)
    course = PEAK_UV * np.exp(-((np.arange(-reach, reach + 1) / sfreq / WIDTH_S) ** 2))
    samples = recording.samples.copy()
    for event in recording.events:
        if rng.random() < SHARE_OF.get(event.label, 0.0):
            at = recording.sample_at(event.timestamp) + round(sfreq * rng.normal(AFTER_S, JITTER_S))
            there = samples[at - reach : at + reach + 1]
            there += np.outer(course, size)[: len(there)].astype(np.float32)
    return replace(recording, samples=samples)


def write(data: Path, folder: Path, person: str) -> None:
    """Write a person's runs, as they are and with blinks."""
    for run in LEARNED + LOOKED_AT:
        (path,) = (data / "eegmmidb_mi").glob(f"sub-{person}_task-*lr_run-{run:02d}_raw.fif.gz")
        clean, rng = read_recording(path), np.random.default_rng([int(person), run])
        for kind, recording in (("clean", clean), ("blinks", with_blinks(clean, rng))):
            recording.save(folder / f"{kind}-{person}-run-{run:02d}.npz")


def explained(folder: Path, kind: str, person: str) -> list[str]:
    """Train and explain; return what is said of accuracy and eyes."""
    held_out = [f"{run:02d}" for run in LOOKED_AT]
    configuration = folder / f"{kind}-{person}.yaml"
    configuration.write_text(CONFIGURATION.format(kind=kind, person=person, held_out=held_out), encoding="utf-8")
    output = folder / f"{kind}-{person}"
    rtdecode = [sys.executable, "-m", "rtdecode"]
    train = [*rtdecode, "train", str(configuration), "--data", str(folder), "-o", str(output)]
    subprocess.run(train, check=True, stdout=subprocess.DEVNULL)
    (decoder,) = (output / "all").glob("*.pt")
    recordings = [str(folder / f"{kind}-{person}-run-{run}.npz") for run in held_out]
    explain = [*rtdecode, "explain", str(decoder), *recordings, "-o", str(output / "explained.html")]
    done = subprocess.run(explain, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
    wanted = ("accuracy", "strongest frontal signals", "WARNING: It looks as if it read eyes", "No verdict")
    return [line.split(": with")[0] for line in done.stdout.splitlines() if line.startswith(wanted)]


def main() -> None:
    """Print a row for each person, with blinks and without."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds eegmmidb_mi/")
    parser.add_argument("--people", nargs="+", default=PEOPLE)
    given = parser.parse_args()
    print("| person | recordings | what is said |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for person in given.people:
            write(given.data, Path(name), person)
            for kind in ("clean", "blinks"):
                print(f"| {person} | {kind} | {'<br>'.join(explained(Path(name), kind, person))} |", flush=True)


if __name__ == "__main__":
    main()
