"""What the scripts of bench/paper share: the models of a study, made when they are first asked for, and results kept in files."""

import argparse
import json
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
POCKET = ROOT / "assets/pocket-clip"
TASKS = ["mnist", "fashion-mnist", "hebrew", "georgian"]
CONTROL = "glyphs"


@dataclass
class Way:
    """How vectors are trained, and how a model made of them is evaluated."""
    name: str
    mode: str  # of evaluation
    vectors: str  # a folder of fine-tuned models
    options: Callable = lambda task: []  # of finetune
    addition: str = ""  # published: ViT-B/32, absolute / normalised
    negation: str = ""  # published: ViT-B/32, target / control


def penalty(task):
    """Images of the control and of the other tasks, without labels."""
    return [word for other in [CONTROL, *TASKS] if other != task for word in ("--penalty-task", other)]


STANDARD = Way("standard", "standard", "standard", addition="71.4 / 76.5", negation="24.0 / 60.7")
POSTHOC = Way("post-hoc", "posthoc", "standard", addition="57.1 / 81.9", negation="14.8 / 60.3")
LINEAR = Way("linear", "linear", "linear", lambda task: ["--mode", "linear"], "76.5 / 85.4", "10.9 / 60.8")
SLOW = Way("linear, learning rate 1e-4", "linear", "slow", lambda task: ["--mode", "linear", "--lr", "1e-4"])  # a ninth: shorter vectors
ATTENTION = Way("linear, attention only", "linear", "attention", lambda task: ["--mode", "linear", "--only", "attention"])
LORA = Way("linear, LoRA of rank 8", "linear", "lora", lambda task: ["--mode", "linear", "--lora", "8"])
PENALISED = Way("linear, τ-Jacobian penalty", "linear", "penalised", lambda task: ["--mode", "linear", "--penalty", "tau-jvp", *penalty(task)])
RANDOM = Way("standard, from a random start", "standard", "random", lambda task: ["--from-random", "0"])


class Study:
    """One seed of fine-tuning."""

    def __init__(self, arguments, seed):
        self.program, self.folder, self.seed = arguments.program, arguments.output / str(seed), seed

    def taskvec(self, *words):
        """What a command prints as JSON."""
        done = subprocess.run([self.program, *map(str, words), "--json"], stdout=subprocess.PIPE, text=True)
        if done.returncode not in (0, 3):  # 3: no point satisfies the constraint
            raise SystemExit(f"{' '.join(map(str, words))}: exit status {done.returncode}")
        return json.loads(done.stdout)["result"]

    def models(self, way):
        """The fine-tuned models by task, and their base."""
        folders = {task: self.folder / way.vectors / task for task in TASKS}
        for task, folder in folders.items():
            if not (folder / "model.safetensors").exists():
                self.taskvec("finetune", "-m", POCKET, "-t", task, "-o", folder, "--seed", self.seed, "-q", *way.options(task))
        base = folders[TASKS[0]] / "origin"
        return folders, base if base.exists() else POCKET

    def once(self, name, make):
        """make()'s figures, from a file where they are there."""
        record = self.folder / f"{name.replace(' ', '-')}.json"
        if not record.exists():
            figures = make()
            record.write_text(json.dumps(figures, indent=1) + "\n")
        return json.loads(record.read_text())


def arguments_of(description):
    """The options of every script, to which a script may add its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, help="build/release/taskvec")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of fine-tuning")
    parser.add_argument("--output", type=Path, default=Path("build/paper-tangent"), help="models and figures; what is there is not repeated")
    return parser


def spread(values, scale=1, digits=2):
    """Mean (lowest–highest)."""
    values = [scale * value for value in values]
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})" if values else "–"
