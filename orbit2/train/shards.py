"""What torch.distributed.checkpoint writes and reads here: safetensors files, one a rank, and JSON. Nothing is ever pickled or unpickled.

step-00000010/
    shard-00000-of-00002.safetensors ...   each tensor, or chunk of a sharded one, once, whoever holds copies of it
    index.json                             names -> dtype, shape and chunks: [file, offsets, sizes]
    manifest.json                          written last: step, progress, configuration, ranks, versions; size and sha256 of every file
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, SavePlan, SavePlanner, WriteItem
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from torch.futures import Future

from orbit2.errors import OrbitError
from orbit2.files import read_json, sealed, sha256, sync_folder, unsealed, write_json
from orbit2.parallel.sharded import local

MANIFEST, INDEX = "manifest.json", "index.json"
SHARED = "put the checkpoints on a file system that all nodes see"
ANOTHER = "delete the checkpoint: the one before it is used"


class Written(NamedTuple):
    """A file of a checkpoint."""

    file: str
    bytes: int
    sha256: str


class Writer(StorageWriter):
    """Writes `folder` under a temporary name beside it, and renames it when every rank has written and synced its file.

    `about` goes into the manifest; the first rank calls `then` at the end. Errors of any rank are raised on all (CheckpointException).
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], then: Callable[[], None] = lambda: None) -> None:
        self.folder, self.about, self.then = folder, about, then
        self.part = temporary(folder)

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        pass

    def set_up_storage_writer(self, is_coordinator: bool, *_: Any, **__: Any) -> None:
        self.part.mkdir(exist_ok=True)

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        names = [f"shard-{number:05d}-of-{len(plans):05d}.safetensors" for number in range(len(plans))]
        return [replace(plan, storage_data=name) for plan, name in zip(plans, names, strict=True)]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """This rank's file. Raises OSError when it cannot be written."""
        tensors: dict[str, Tensor] = {}
        indices, memory = [], set[int]()
        for item in plan.items:
            tensor = planner.resolve_data(item)
            assert isinstance(tensor, Tensor)  # nothing else is ever pickled into a stream
            tensor = tensor.detach().cpu().contiguous()
            if not tensor.numel():  # of a tensor that is shorter than its ranks are many
                continue
            if (address := tensor.untyped_storage().data_ptr()) in memory:  # tied weights: safetensors wants each memory once
                tensor = tensor.clone()
            memory.add(address)
            tensors[_key(item.index)] = tensor
            indices.append(item.index)
        results = []
        if tensors:
            path = self.part / plan.storage_data
            _save(tensors, path)
            written = Written(path.name, path.stat().st_size, sha256(path))
            results = [WriteResult(index, tensors[_key(index)].nbytes, (written, tuple(tensors[_key(index)].shape))) for index in indices]
        done: Future[list[WriteResult]] = Future()
        done.set_result(results)
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """On the first rank: index, manifest, rename. Raises OrbitError where it does not see another rank's file."""
        found = [(result.index, *result.storage_data) for rank in results for result in rank]
        files = {written.file: written for _, written, _ in found}
        for written in files.values():
            path = self.part / written.file
            if not path.is_file() or path.stat().st_size != written.bytes:
                raise OrbitError("another rank's part of a checkpoint is not seen here", where=path, hint=SHARED)
        names = {name: number for number, name in enumerate(files)}
        tensors: dict[str, Any] = {
            name: {"dtype": str(facts.properties.dtype).removeprefix("torch."), "shape": list(facts.size), "chunks": []}
            for name, facts in metadata.state_dict_metadata.items()
            if isinstance(facts, TensorStorageMetadata)
        }
        for index, written, sizes in found:
            tensors[index.fqn]["chunks"].append([names[written.file], list(index.offset or ()), list(sizes)])
        index_path = self.part / INDEX
        index_path.write_text(json.dumps({"files": list(names), "tensors": tensors}), encoding="utf-8")
        _sync(index_path)
        files[INDEX] = Written(INDEX, index_path.stat().st_size, sha256(index_path))
        listed = {name: {"bytes": written.bytes, "sha256": written.sha256} for name, written in sorted(files.items())}
        write_json(self.part / MANIFEST, sealed({**self.about, "files": listed}))
        sync_folder(self.part)
        self.part.rename(self.folder)
        sync_folder(self.folder.parent)
        self.then()

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return True

    def storage_meta(self) -> None:
        return None


class Copies(DefaultSavePlanner):
    """Plans for the tensors of a run, and writes copies of this rank's parts, made now: the run goes on.

    (`async_save` of torch 2.6 copies nothing that is on the CPU already.)
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(flatten_state_dict=False)
        self.copies = {name: local(tensor).detach().to("cpu", copy=True) for name, tensor in tensors.items()}

    def resolve_data(self, write_item: WriteItem) -> Tensor:
        return self.copies[write_item.index.fqn]


class Reader(StorageReader):
    """Fills tensors, however they are sharded, from chunks that `chunk` reads where `facts` says. Never opens anything itself."""

    def __init__(self, facts: Metadata) -> None:
        self.facts = facts

    def chunk(self, index: MetadataIndex, cut: tuple[slice, ...]) -> Tensor:
        raise NotImplementedError

    @property
    def shapes(self) -> dict[str, torch.Size]:
        return {name: told.size for name, told in self.facts.state_dict_metadata.items() if isinstance(told, TensorStorageMetadata)}

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        pass

    def read_metadata(self) -> Metadata:
        return self.facts

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *_: Any, **__: Any) -> None:
        pass

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        for item in plan.items:
            cut = tuple(slice(start, start + n) for start, n in zip(item.storage_offsets, item.lengths, strict=True))
            target = planner.resolve_tensor(item).detach()
            target.copy_(self.chunk(item.storage_index, cut))
            planner.commit_tensor(item, target)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return True


class Files(Reader):
    """Of a checkpoint that verified. Raises OrbitError for an index that does not say where chunks lie."""

    def __init__(self, folder: Path) -> None:
        super().__init__(_facts(folder / INDEX))
        self.folder, self.open = folder, dict[str, Any]()

    def chunk(self, index: MetadataIndex, cut: tuple[slice, ...]) -> Tensor:
        name = self.facts.storage_data[index]
        try:
            if name not in self.open:
                self.open[name] = safe_open(self.folder / name, framework="pt")
            tensor: Tensor = self.open[name].get_slice(_key(index))[cut] if cut else self.open[name].get_tensor(_key(index))
        except SafetensorError as error:
            raise OrbitError(f"not the tensors of a checkpoint ({error})", where=self.folder / name, hint=ANOTHER) from None
        return tensor


class Held(Reader):
    """Of whole tensors in memory."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        def whole(tensor: Tensor) -> TensorStorageMetadata:
            chunk = ChunkStorageMetadata(torch.Size([0] * tensor.ndim), tensor.shape)
            return TensorStorageMetadata(TensorProperties(dtype=tensor.dtype), tensor.shape, [chunk])

        super().__init__(Metadata({name: whole(tensor) for name, tensor in tensors.items()}))
        self.tensors = tensors

    def chunk(self, index: MetadataIndex, cut: tuple[slice, ...]) -> Tensor:
        return self.tensors[index.fqn][cut]


def temporary(folder: Path) -> Path:
    """Where a checkpoint lies until it is whole."""
    return folder.with_name(f".{folder.name}.part")


def manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint, itself verified. Raises ValueError, TypeError or OrbitError for a damaged one."""
    content: dict[str, Any] = unsealed(read_json(folder / MANIFEST))
    return content


def flat(state: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Tensors of a nested state, by dotted name."""
    for key, value in state.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _key(index: MetadataIndex) -> str:
    """The name of a chunk in its file: the tensor's own at its origin."""
    return index.fqn + (f"@{','.join(map(str, index.offset))}" if index.offset and any(index.offset) else "")


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path)
    except SafetensorError as error:  # tells the system's number in words only
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
    _sync(path)


def _sync(path: Path) -> None:
    with open(path, "rb+") as handle:
        os.fsync(handle.fileno())


def _facts(path: Path) -> Metadata:
    content = read_json(path)
    tensors: dict[str, Any] = {}
    places: dict[MetadataIndex, str] = {}
    try:
        files = [str(name) for name in content["files"]]
        if any(Path(name).name != name for name in files):
            raise ValueError("a file outside the checkpoint")
        for name, entry in content["tensors"].items():
            dtype = getattr(torch, entry["dtype"])
            if not isinstance(dtype, torch.dtype):
                raise ValueError(f"{name} is of no known type")
            chunks = [ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes)) for _, offsets, sizes in entry["chunks"]]
            tensors[name] = TensorStorageMetadata(TensorProperties(dtype=dtype), torch.Size(entry["shape"]), chunks)
            places |= {MetadataIndex(name, offsets): files[number] for number, offsets, _ in entry["chunks"]}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise OrbitError(f"not the index of a checkpoint ({error})", where=path, hint=ANOTHER) from None
    return Metadata(tensors, storage_data=places)
