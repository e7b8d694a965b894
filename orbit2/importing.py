"""Can libraries be imported here? Asked of processes of their own, side by side: none waits for another, a broken binary ends only its own.
`python -m orbit2.importing MODULE...` answers, a line a module (JSON)."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

SECONDS = 120.0  # a library on a slow shared file system may take a while; one that hangs does not keep the doctor


class Asked:
    """A process that imports modules one after the other; begun at once, read when its answer is needed."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = modules
        environment = {"OMP_NUM_THREADS": "1", **os.environ}  # no threads are made for an import
        self._process = subprocess.Popen([sys.executable, "-m", "orbit2.importing", *modules], env=environment, text=True,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE) if modules else None  # fmt: skip
        self._read: list[dict[str, Any]] | None = None

    def _answers(self) -> list[dict[str, Any]]:
        if self._read is None:
            self._read, ended = [], "did not answer"
            if self._process is not None:
                try:
                    out, errors = self._process.communicate(timeout=SECONDS)
                    ended = (errors.strip().splitlines() or [f"exit {self._process.returncode}"])[-1][:100]
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    out, ended = self._process.communicate()[0], f"not within {SECONDS:.0f} s"
                self._read = [json.loads(line) for line in out.splitlines() if line.startswith('{"module"')]
            told = {answer["module"] for answer in self._read}
            self._read += [{"module": module, "problem": ended} for module in self._modules if module not in told][:1]
        return self._read

    def problem(self, module: str) -> str | None:
        """Why `module` cannot be imported; None where it can. Of those after one that took the process with it nothing is known."""
        found = next((answer for answer in self._answers() if answer["module"] == module), None)
        return "not looked at: the one before ended the process" if found is None else found["problem"]

    def devices(self) -> dict[str, Any] | None:
        """What torch says of its devices, where it was asked for and can be imported."""
        return next((answer["devices"] for answer in self._answers() if answer.get("devices")), None)


def look(modules: Sequence[str]) -> Iterator[dict[str, Any]]:
    """An answer a module. Any failure counts: a broken binary raises whatever it likes."""
    for module in modules:
        answer: dict[str, Any] = {"module": module, "problem": None}
        try:
            library = import_module(module)
            if module == "torch":
                answer["devices"] = _devices(library)
        except Exception as error:
            answer["problem"] = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
        yield answer


def _devices(torch: Any) -> dict[str, Any]:
    """GPUs that this build of torch can use."""
    usable = torch.cuda.is_available()
    found = []
    for index in range(torch.cuda.device_count() if usable else 0):
        device = torch.cuda.get_device_properties(index)
        with torch.cuda.device(index):
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        found.append({"name": device.name, "gib": device.total_memory / 2**30, "bf16": bf16})
    return {"gpus": found, "kind": "ROCm" if torch.version.hip else "CUDA"}


if __name__ == "__main__":
    gc.disable()  # nothing that an import makes is garbage: a tenth of the time
    for line in look(sys.argv[1:]):
        print(json.dumps(line), flush=True)
    sys.stdout.flush()
    os._exit(0)  # libraries that were only looked at need not be taken down
