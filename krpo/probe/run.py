"""A probe's folder.

```
probe/
    probe.yaml      what was probed (`ProbeSpec`, resolved), its key and that of its rollouts
    rollouts/       batch-00000.safetensors, reference-00000.safetensors, ...: answers' rewards and sketched gradients
    batches.jsonl   raw measurements: one row for each batch, estimator, group size and noise
    results.csv     the numbers with standard errors and intervals, one row for each measure
    manifest.json   versions, commit, machine, time
```

Rollouts that are there are not drawn again, after a kill or with other estimators, noise or more batches. They are only
needed for that: the folder `rollouts` may be deleted.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from krpo.advantages import make_estimator
from krpo.config import to_plain
from krpo.errors import BadInput
from krpo.noise import make_noise
from krpo.policies import weights_hash
from krpo.probe import batches, results
from krpo.probe.rollouts import FrozenPolicy, Kind, Rollouts
from krpo.probe.spec import ProbeSpec
from krpo.provenance import git_state, machine, package_versions, peak_memory
from krpo.rundir import read_json, write_json, write_jsonl, write_text, write_yaml
from krpo.tasks import make_task

Progress = Callable[[str], None]


def probe(spec: ProbeSpec, output: Path, *, device: str = "auto", progress: Progress = lambda text: None) -> Path:
    """Measure into the folder ``output``; returns the file with the results.

    Raises `BadInput` where the folder holds a probe of another policy, task or kind of rollouts.
    """
    for named in spec.estimators:
        make_estimator(named)
    for noise in spec.noise:
        make_noise(noise)
    task = make_task(spec.task)
    weights, data = weights_hash(spec.policy), task.fingerprint()
    rollout_key, key = spec.rollout_key(weights, data), spec.key(weights, data)
    manifest, table = output / "manifest.json", output / "results.csv"
    before = _before(output)
    if before.get("rollouts") not in (None, rollout_key):
        raise BadInput(
            f"{output}: holds a probe with other rollouts (another policy, task, seed, largest group size, prompts, "
            "reward, length, dtype or sketch); choose another --output"
        )
    if table.exists() and manifest.exists() and read_json(manifest).get("key") == key:
        return table
    started = time.time()
    folder = output / "rollouts"
    folder.mkdir(parents=True, exist_ok=True)
    write_yaml(output / "probe.yaml", {"key": key, "rollouts": rollout_key, **to_plain(spec)})
    draw_missing(spec, folder, device, progress)

    reference = batches.reference_of(spec, list(stored(folder, "reference", spec.reference_batches)))
    greedy_P = next(stored(folder, "batch", 1)).greedy_rewards_P
    rows: list[dict[str, Any]] = []
    numbers: list[dict[str, Any]] = []
    for noise in spec.noise:
        for g in spec.group_sizes:
            progress(f"measuring G = {g}, noise {noise.label}")
            found = batches.measure(spec, g, noise, stored(folder, "batch", spec.batches), reference, greedy_P)
            rows += found
            numbers += results.results(found)
    write_jsonl(output / "batches.jsonl", rows)
    write_text(table, to_csv(numbers))
    write_json(
        manifest,
        {
            "key": key,
            "rollouts": rollout_key,
            "git": git_state(),
            "packages": package_versions(),
            "base_weights": weights,
            "data": data,
            "seed": spec.seed,
            "pass_rates": [round(rate, 6) for rate in reference.rates_P.tolist()],
            "reference_noise": reference.spread / reference.squared_norm,
            "sketch_error": (2 / spec.sketch) ** 0.5,
            "wall": {"seconds": time.time() - started, **peak_memory(), **machine()},
        },
    )
    return table


def draw_missing(spec: ProbeSpec, folder: Path, device: str, progress: Progress) -> None:
    """Draw the rollout batches that are not in the folder yet."""
    wanted: list[tuple[Kind, int]] = [("reference", i) for i in range(spec.reference_batches)]
    wanted += [("batch", i) for i in range(spec.batches)]
    missing = [(kind, i) for kind, i in wanted if not _file(folder, kind, i).exists()]
    if not missing:
        return
    policy = FrozenPolicy(spec, folder, device)
    started = time.perf_counter()
    for done, (kind, number) in enumerate(missing):
        left = (time.perf_counter() - started) / done * (len(missing) - done) if done else 0.0
        ahead = f", {left:.0f} s left" if done else ""
        progress(f"rollouts {done + 1}/{len(missing)} ({kind} {number}){ahead}")
        policy.draw(kind, number).save(_file(folder, kind, number))


def stored(folder: Path, kind: Kind, n: int) -> Iterator[Rollouts]:
    """The first n batches of a kind, one in memory at a time."""
    for number in range(n):
        yield Rollouts.load(_file(folder, kind, number))


def _file(folder: Path, kind: Kind, number: int) -> Path:
    return folder / f"{kind}-{number:05d}.safetensors"


def _before(output: Path) -> dict[str, Any]:
    """What probe.yaml says, where there is one."""
    import yaml

    file = output / "probe.yaml"
    if not file.exists():
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise BadInput(f"{output}: is there and holds no probe; choose another --output")
        return {}
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise BadInput(f"{file}: expected a mapping")
    return data


def to_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=results.COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_csv(file: Path) -> list[dict[str, Any]]:
    """The rows of a results.csv: numbers as numbers, an empty cell as None."""
    words = ("noise", "estimator", "measure", "method")
    with file.open(newline="", encoding="utf-8") as stream:
        return [
            {k: v if k in words else (float(v) if v else None) for k, v in row.items()}
            for row in csv.DictReader(stream)
        ]
