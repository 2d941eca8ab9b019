"""`dp-convert` reads pickles of strangers: nothing in them may run, whatever they name and however they call it."""

import copyreg
import io
import os
import pickle
import sys
import zipfile
from collections import OrderedDict
from contextlib import contextmanager

import dill
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from dp_convert.original.checkpoint import read_original
from dp_convert.original.nodes import plain_config
from dp_convert.restricted_pickle import RestrictedUnpickler
from dp_convert.torch_file import read_torch_file
from dp_core.errors import CheckpointError

EXPECTED = "which could run code; expected only tensors, containers, plain values and OmegaConf nodes; nothing was run"


class Exploit:
    """Unpickled by the usual means, makes the file ``path``."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def trace(tmp_path):
    """A file that exists once something has run."""
    return tmp_path / "ran"


def unpickle(data):
    return RestrictedUnpickler(io.BytesIO(data), "x.ckpt").load()


def payload(**changes):
    parts = {"cfg": OmegaConf.create({"a": 1}), "state_dicts": {"model": {}}, "pickles": {}}
    return {**parts, **changes}


def save(content, path, **options):
    torch.save(content, path, pickle_module=dill, **options)
    return path


def test_the_exploit_of_these_tests_works(trace):
    pickle.loads(pickle.dumps(Exploit(trace)))

    assert trace.exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_function_is_refused_by_its_name_in_every_protocol(protocol, trace):
    with pytest.raises(CheckpointError) as error:
        unpickle(pickle.dumps({"a": [Exploit(trace)]}, protocol))

    assert str(error.value) == f"x.ckpt: refers to 'posix.system', {EXPECTED}"
    assert not trace.exists()


@pytest.mark.parametrize(
    ("program", "name"),
    [
        (b"(S'touch TRACE'\nios\nsystem\n.", "os.system"),  # INST
        (b"(cos\nsystem\nS'touch TRACE'\no.", "os.system"),  # OBJ
        (b"cos\nsystem\n(S'touch TRACE'\ntR.", "os.system"),  # GLOBAL, REDUCE
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93S'touch TRACE'\n\x85R.", "os.system"),  # STACK_GLOBAL, REDUCE
        (b"\x80\x02csubprocess\nPopen\n(S'touch'\nS'TRACE'\nlt\x81.", "subprocess.Popen"),  # NEWOBJ
        (b"\x80\x04csubprocess\nPopen\n(S'touch'\nS'TRACE'\nlt}\x92.", "subprocess.Popen"),  # NEWOBJ_EX
        (b"c__builtin__\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"cbuiltins\ngetattr\n(cos\nsystem\nS'x'\ntR.", "builtins.getattr"),
        (b"\x80\x04\x8c\x0bcollections\x8c\x1cOrderedDict.__init__.__doc__\x93.",
         "collections.OrderedDict.__init__.__doc__"),  # a dotted name, which leads anywhere
        (b"cdill._dill\n_create_function\n.", "dill._dill._create_function"),
        (b"cdill._dill\n_import_module\n(S'os'\ntR.", "dill._dill._import_module"),
        (b"ctorch.storage\n_load_from_bytes\n(S'x'\ntR.", "torch.storage._load_from_bytes"),
        (b"comegaconf.omegaconf\nOmegaConf\n.", "omegaconf.omegaconf.OmegaConf"),
        (b"cpathlib\nPosixPath\n(S'x'\ntR.", "pathlib.PosixPath"),
    ],
)  # fmt: skip
def test_hand_written_programs_are_refused_by_the_name_they_call(program, name, trace):
    with pytest.raises(CheckpointError) as error:
        unpickle(program.replace(b"TRACE", str(trace).encode()))

    assert str(error.value) == f"x.ckpt: refers to '{name}', {EXPECTED}"
    assert not trace.exists()


def test_a_function_that_has_a_number_is_refused_even_if_pickle_remembers_what_it_means(trace):
    program = f"(\x82\x64S'touch {trace}'\no.".encode("latin1")  # EXT1, OBJ
    copyreg.add_extension("os", "system", 0x64)
    try:
        assert pickle.loads(b"\x82\x64.") is os.system

        with pytest.raises(CheckpointError) as error:
            unpickle(program)
    finally:
        copyreg.remove_extension("os", "system", 0x64)

    assert str(error.value) == f"x.ckpt: refers to 'os.system', {EXPECTED}"
    assert not trace.exists()


def test_nobody_else_is_given_a_substitute():
    copyreg.add_extension("collections", "OrderedDict", 0x65)
    try:
        unpickle(b"\x82\x65.")

        assert pickle.loads(b"\x82\x65.") is OrderedDict
    finally:
        copyreg.remove_extension("collections", "OrderedDict", 0x65)


def test_substitutes_and_nodes_cannot_be_turned_into_something_else():
    set_state = b"\x80\x02ccollections\nOrderedDict\n}U\x05_callcbuiltins\nset\nsb."
    change_class = b"\x80\x02comegaconf.nodes\nAnyNode\nN}U\x04kindU\x04evils\x86b."

    with pytest.raises(CheckpointError, match="the state of a function is set"):
        unpickle(set_state)
    changed = unpickle(change_class)
    assert changed.kind == "evil"
    assert unpickle(b"\x80\x02comegaconf.nodes\nAnyNode\n.").kind == "AnyNode"


def test_a_reference_to_something_outside_is_refused_where_there_is_nothing():
    with pytest.raises(CheckpointError) as error:
        unpickle(b"S'module'\nQ.")

    assert str(error.value).startswith("x.ckpt: refers to an object outside of it, 'module'; expected only tensors")


@pytest.mark.parametrize("old_format", [False, True], ids=["zip", "stream"])
@pytest.mark.parametrize("where", ["outside", "cfg", "state_dicts"])
def test_a_checkpoint_with_an_exploit_is_refused(where, old_format, trace, tmp_path):
    parts = {
        "outside": payload(other=Exploit(trace)),
        "cfg": payload(cfg=OmegaConf.create({"a": [Exploit(trace)]}, flags={"allow_objects": True})),
        "state_dicts": payload(state_dicts={"model": {"weight": Exploit(trace)}}),
    }
    path = save(parts[where], tmp_path / "evil.ckpt", _use_new_zipfile_serialization=not old_format)

    with pytest.raises(CheckpointError) as error:
        read_original(path)

    assert str(error.value) == f"{path}: refers to 'posix.system', {EXPECTED}"
    assert not trace.exists()


def test_an_exploit_in_a_pickled_value_is_refused_even_if_nobody_needs_the_value(trace, tmp_path):
    path = save(payload(pickles={"epoch": dill.dumps(1), "other": dill.dumps(Exploit(trace))}), tmp_path / "evil.ckpt")

    with pytest.raises(CheckpointError) as error:
        read_original(path)

    assert str(error.value) == f"{path}: pickles.other: refers to 'posix.system', {EXPECTED}"
    assert not trace.exists()


def test_a_persistent_id_that_is_no_storage_is_refused(tmp_path):
    path = tmp_path / "evil.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"(S'module'\nS'x'\nS'y'\nS'z'\nI1\ntQ.")

    with pytest.raises(CheckpointError, match=r"which is not a tensor's storage$"):
        read_torch_file(path)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["archive/version"], "there is no data.pkl in it"),
        (["a/data.pkl", "b/data.pkl"], "there are 2 data.pkl in it"),
    ],
)
def test_another_archive_is_told_from_one_of_torch(names, reason, tmp_path):
    path = tmp_path / "a.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"N.")

    with pytest.raises(CheckpointError) as error:
        read_torch_file(path)

    assert str(error.value) == f"{path}: a zip archive, but not one of torch.save: {reason}"


def test_a_tensor_cannot_look_beyond_its_numbers(tmp_path):
    path = save({"a": torch.arange(4.0)}, tmp_path / "a.pt")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content.replace(b"K\x04\x85", b"K\x7f\x85") if name.endswith(".pkl") else content)

    with pytest.raises(CheckpointError, match=r"out of bounds for storage"):
        read_torch_file(path)


@pytest.mark.parametrize("old_format", [False, True], ids=["zip", "stream"])
def test_tensors_are_read_as_torch_reads_them(old_format, tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    content = {
        "view": base[1:, ::2].t(),
        "same": base,
        "half": torch.arange(3, dtype=torch.bfloat16),
        "flag": torch.tensor([True, False]),
        "scalar": torch.tensor(7),
        "empty": torch.empty(0),
        "nested": [1, 2.5, "x", None, (True,), {1, 2}, b"bytes"],
    }
    path = save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not old_format)

    read = read_torch_file(path)

    for name in ("view", "same", "half", "flag", "scalar", "empty"):
        assert torch.equal(read[name], content[name])
        assert read[name].dtype == content[name].dtype
    assert read["nested"] == content["nested"]
    assert read["view"].untyped_storage().data_ptr() == read["same"].untyped_storage().data_ptr()


def test_changing_what_was_read_leaves_the_file_as_it_is(tmp_path):
    path = save({"a": torch.zeros(3)}, tmp_path / "a.pt")
    before = path.read_bytes()

    read_torch_file(path)["a"].fill_(1)

    assert path.read_bytes() == before


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_cut_file_is_reported(keep, tmp_path):
    path = save({"a": torch.zeros(1000)}, tmp_path / "a.pt")
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])

    with pytest.raises(CheckpointError) as error:
        read_torch_file(path)

    assert str(error.value) == f"{path}: incomplete or damaged, or not a file of torch.save"


def test_a_damaged_stream_is_reported(tmp_path):
    path = save({"a": torch.zeros(1000)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(CheckpointError, match="incomplete or damaged"):
        read_torch_file(path)


@pytest.mark.parametrize("keep", [-4, -12, 200, 60, 30])
def test_a_stream_that_ends_anywhere_is_reported(keep, tmp_path):
    path = save({"a": torch.zeros(2)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(CheckpointError):
        read_torch_file(path)


@pytest.mark.parametrize(
    ("pickles", "reason"),
    [
        ([[]], "'list' object has no attribute 'get'"),
        ([{}, {}, ["a"]], "'a'"),
        ([{}, {}, 1], "'int' object is not iterable"),
    ],
)
def test_a_stream_of_other_pickles_is_reported(pickles, reason, tmp_path):
    path = save({}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    start = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001))
    path.write_bytes(start + b"".join(pickle.dumps(value, 2) for value in pickles))

    with pytest.raises(CheckpointError) as error:
        read_torch_file(path)

    assert str(error.value) == f"{path}: incomplete or damaged: {reason}; use another file"


def test_an_encrypted_archive_is_reported(tmp_path):
    path = save({"a": torch.zeros(2)}, tmp_path / "a.pt")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)

    with pytest.raises(CheckpointError, match=r"incomplete or damaged: File .* is encrypted"):
        read_torch_file(path)


def block_in_itself():
    block = {}
    block["again"] = block
    return block


@pytest.mark.parametrize(
    ("cfg", "reason"),
    [
        (block_in_itself(), "RecursionError: maximum recursion depth exceeded"),
        ({(1, 2): 3}, "TypeError: unhashable type: 'list'"),
        ({"a": 10**5000, "b": "${a}!"}, "ValueError: Exceeds the limit"),
    ],
    ids=["recursive", "key", "number"],
)
def test_a_config_that_is_none_is_reported(cfg, reason, tmp_path):
    path = save(payload(cfg=cfg, state_dicts={"model": {"w": torch.zeros(1)}}), tmp_path / "a.ckpt")

    with pytest.raises(CheckpointError) as error:
        read_original(path)

    assert str(error.value).startswith(f"{path}: its cfg cannot be read: {reason}")


LARGEST = 20_000
TOO_LARGE = f"its cfg cannot be read: ValueError: more than {LARGEST} values and characters once its references are"


@contextmanager
def at_most(n_calls):
    """Let no more functions be called than that; a test without such an end would take all time and memory."""
    left = n_calls

    def count(frame, event, function):
        nonlocal left
        left -= event in ("call", "c_call")
        if left < 0:
            raise RuntimeError(f"more than {n_calls} calls")

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)


def doubled(value, times):
    for _ in range(times):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    "cfg",
    [
        {"a": doubled([1, 2], 40)},
        {"a": doubled("x" * 1000, 10)},
        {"n0": [1, 2], **{f"n{i + 1}": [f"${{n{i}}}", f"${{n{i}}}"] for i in range(40)}},
        {"n0": "xx", **{f"n{i + 1}": f"${{n{i}}}${{n{i}}}" for i in range(40)}},
        {"a": ["${b}"] * 1000, "b": [1] * 1000},
        {"a": "x" * 1000, "b": "${a}" * 1000},
    ],
    ids=["list", "text", "references to lists", "references to text", "wide", "in one text"],
)
def test_a_small_file_that_stands_for_a_large_config_is_refused(cfg, tmp_path, monkeypatch):
    """Before it is written out: what is done until then is in proportion to the largest config that is taken."""
    monkeypatch.setattr("dp_convert.original.nodes._LARGEST", LARGEST)
    path = save(payload(cfg=cfg, state_dicts={"model": {"w": torch.zeros(1)}}), tmp_path / "a.ckpt")

    with at_most(20 * LARGEST), pytest.raises(CheckpointError) as error:
        read_original(path)

    assert str(error.value) == f"{path}: {TOO_LARGE} written out"


def resolved(data):
    """Through the pickle, as in a checkpoint."""
    return plain_config(unpickle(dill.dumps(OmegaConf.create(data), protocol=2)))


def test_interpolations_are_resolved_without_running_them(trace):
    config = resolved(
        {
            "n": 2,
            "task": {"name": "pusht", "dims": [3, 4], "again": "${..n}", "beside": "${.name}"},
            "name": "${now:%Y}_${task.name}",
            "text": "to ${task.name}",
            "list": "${task.dims}",
            "item": "${task.dims.1}",
            "sum": "${eval:'${n}+${task.dims.0}'}",
            "choice": '${eval:\'500 if "${task.name}" == "mh" else 400\'}',
            "condition": "${eval: ${n} if False or ${truth} else ${n} * 10}",
            "none": "${eval: 3 if False else None}",
            "truth": True,
            "unknown": "${nobody.knows}",
            "call": f'${{eval:\'__import__("os").system("touch {trace}")\'}}',
            "circle": "${circle}",
        }
    )

    assert config["task"] == {"name": "pusht", "dims": [3, 4], "again": 2, "beside": "pusht"}
    assert config["text"] == "to pusht"
    assert (config["list"], config["item"]) == ([3, 4], 4)
    assert (config["sum"], config["choice"], config["condition"], config["none"]) == (5, 400, 2, None)
    assert config["unknown"] == "${nobody.knows}"
    assert config["name"].startswith("${now:%Y}_")
    assert "touch" in config["call"]
    assert not trace.exists()


@pytest.mark.parametrize(
    "text", ["9**9**9", "'a'*10**9", "[1]*10**9", "().__class__", "open('x')", "lambda: 1", "a", "1 +"]
)
def test_an_expression_that_is_no_arithmetic_stays_as_it_is(text):
    config = {"a": f"${{eval:{text}}}"}

    assert plain_config(config) == config


def test_numpy_is_not_needed_to_read_a_checkpoint(tmp_path):
    path = save({"a": np.float64(1.0)}, tmp_path / "a.pt")

    with pytest.raises(CheckpointError, match=r"refers to 'numpy\..*scalar', which could run code"):
        read_torch_file(path)
