"""Replay buffers on disk: what is written comes back, what others wrote is read, what is broken is said."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr

from dp_core.errors import DataError
from dp_replay.buffer import ReplayBuffer
from dp_replay.store import open_store

ENDS = np.array([4, 10])


def make_arrays(dtype: str = "uint8") -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "img": random.integers(0, 256, (10, 5, 6, 3)).astype(dtype),
        "pos": random.random((10, 2), dtype=np.float32),
    }


def write_published_layout(store: object, folder: str = "", dtype: str = "float32") -> dict[str, np.ndarray]:
    """As the published data sets are: format 2, chunks as long as the first episode."""
    arrays = make_arrays(dtype)
    root = zarr.open_group(store, path=folder, mode="a", zarr_format=2)
    for key, array in arrays.items():
        root.create_array(f"data/{key}", data=array, chunks=(4, *array.shape[1:]))
    root.create_array("meta/episode_ends", data=ENDS)
    return arrays


def write_two_chunks(path: Path, zarr_format: int, array: np.ndarray | None = None, **options: object) -> Path:
    """As another program does, which may leave out chunks of zeros."""
    array = np.ones((10, 2)) if array is None else array
    root = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    options = {"chunks": (5, *array.shape[1:]), **options}
    root.create_array("data/pos", data=array, **options)
    root.create_array("meta/episode_ends", data=ENDS)
    return path


def chunk_files(path: Path, key: str = "data/pos") -> list[Path]:
    metadata = ("zarr.json", ".zarray", ".zattrs")
    return sorted(file for file in (path / key).rglob("*") if file.is_file() and file.name not in metadata)


def in_zip(folder: Path) -> Path:
    """The same store as one file, in a folder of the name."""
    with zipfile.ZipFile(path := folder.with_suffix(".zip"), "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder.parent))
    return path


def error_of(path: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        ReplayBuffer.load(path, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", ["mine.zarr", "mine.zarr.zip"])
def test_what_was_appended_and_saved_is_read_back(tmp_path, name):
    arrays = make_arrays()
    buffer = ReplayBuffer()
    buffer.append({key: array[:4] for key, array in arrays.items()})
    buffer.append({key: array[4:] for key, array in arrays.items()})

    path = buffer.save(tmp_path / "new" / name)

    loaded = ReplayBuffer.load(path)
    assert loaded.episode_ends.tolist() == [4, 10]
    assert (loaded.n_episodes, loaded.n_steps) == (2, 10)
    assert sorted(loaded.keys()) == ["img", "pos"]
    for key, array in arrays.items():
        np.testing.assert_array_equal(loaded[key], array, strict=True)
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_appended_arrays_are_copied():
    frame = np.zeros((2, 3))
    buffer = ReplayBuffer()
    buffer.append({"pos": frame})
    frame += 1

    assert buffer["pos"].sum() == 0


def test_keys_can_be_chosen(tmp_path):
    write_published_layout(tmp_path / "a.zarr")

    assert ReplayBuffer.load(tmp_path / "a.zarr", keys=["pos"]).keys() == ["pos"]


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64"])
def test_the_published_layout_is_read_with_images_as_uint8_channels_first(tmp_path, dtype):
    arrays = write_published_layout(tmp_path / "a.zarr", dtype=dtype)

    buffer = ReplayBuffer.load(tmp_path / "a.zarr", images={"img": (3, 5, 6)})

    expected = np.moveaxis(arrays["img"], -1, 1).astype(np.uint8)
    np.testing.assert_array_equal(buffer["img"], expected, strict=True)
    np.testing.assert_array_equal(buffer["pos"], arrays["pos"], strict=True)


@pytest.mark.parametrize("folder", ["", "pusht/replay.zarr"])
def test_a_replay_buffer_is_found_in_a_zip(tmp_path, folder):
    with zarr.storage.ZipStore(tmp_path / "a.zip", mode="w") as store:
        arrays = write_published_layout(store, folder)

    np.testing.assert_array_equal(ReplayBuffer.load(tmp_path / "a.zip")["pos"], arrays["pos"])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_float_images_in_the_unit_range_become_0_to_255(tmp_path, dtype):
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    ReplayBuffer({"img": (levels / 255).astype(dtype)}, [1]).save(tmp_path / "a.zarr")

    buffer = ReplayBuffer.load(tmp_path / "a.zarr", images={"img": (1, 16, 16)})

    np.testing.assert_array_equal(buffer["img"], levels, strict=True)


@pytest.mark.parametrize("images", [np.array([-1e-7, 1 + 1e-7]), np.array([False, True])], ids=["floats", "mask"])
def test_the_rounding_of_interpolation_changes_no_level_and_masks_are_black_and_white(tmp_path, images):
    levels, images = (np.reshape(values, (1, 1, 1, 2)) for values in (np.array([0, 255], np.uint8), images))
    ReplayBuffer({"img": images}, [1]).save(tmp_path / "a.zarr")

    buffer = ReplayBuffer.load(tmp_path / "a.zarr", images={"img": (1, 1, 2)})

    np.testing.assert_array_equal(buffer["img"], levels, strict=True)


def test_a_dark_beginning_does_not_decide_the_range_of_float_images(tmp_path):
    images = np.zeros((300, 1, 2, 2), np.float32)
    images[250:] = 200
    images[3] = 1
    root = zarr.open_group(tmp_path / "a.zarr", mode="w")
    root.create_array("data/img", data=images, chunks=(10, 1, 2, 2))
    root.create_array("meta/episode_ends", data=np.array([300]))

    buffer = ReplayBuffer.load(tmp_path / "a.zarr", images={"img": (1, 2, 2)})

    np.testing.assert_array_equal(buffer["img"], images.astype(np.uint8))


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.5, "from 0.5 to 7"), (256, "from 7 to 256"), (-1, "from -1 to 7"), (np.nan, "from nan to nan")],
)
def test_images_with_other_values_are_refused(tmp_path, value, said):
    images = np.full((2, 3, 2, 2), 7, np.float32)
    images[1, 0, 0, 0] = value
    ReplayBuffer({"img": images}, [2]).save(path := tmp_path / "a.zarr")

    assert error_of(path, images={"img": (3, 2, 2)}) == (
        f"{path}: 'img' has float32 images with values {said}; expected uint8, whole numbers in 0..255, or [0, 1]"
    )


def test_images_of_another_size_are_refused(tmp_path):
    write_published_layout(path := tmp_path / "a.zarr")

    assert error_of(path, images={"img": (3, 96, 96)}) == (
        f"{path}: 'img' has images of shape (5, 6, 3); shape_meta says (3, 96, 96), expected that or (96, 96, 3)"
    )


def test_a_missing_path_is_said(tmp_path):
    path = tmp_path / "x.zarr"

    assert error_of(path) == f"{path}: does not exist; expected a zarr replay buffer, a folder or a .zip"


def test_a_missing_key_is_said_with_those_there_are(tmp_path):
    write_published_layout(path := tmp_path / "a.zarr")

    assert error_of(path, keys=["pos", "wrist", "action"]) == (
        f"{path}: has no 'wrist', 'action'; choose from 'img', 'pos'"
    )


def test_another_folder_is_not_a_replay_buffer(tmp_path):
    assert error_of(tmp_path) == f"{tmp_path}: is not a replay buffer: there is no 'meta/episode_ends' in it"


def test_another_zip_is_not_a_replay_buffer(tmp_path):
    with zipfile.ZipFile(path := tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")

    assert error_of(path) == f"{path}: contains no replay buffer: there is no 'meta/episode_ends' in it"


def test_a_zip_with_two_replay_buffers_is_ambiguous(tmp_path):
    with zarr.storage.ZipStore(path := tmp_path / "a.zip", mode="w") as store:
        write_published_layout(store, "left.zarr")
        write_published_layout(store, "right.zarr")

    assert error_of(path) == (
        f"{path}: contains several replay buffers, 'left.zarr', 'right.zarr'; unpack it and choose one"
    )


def test_a_truncated_zip_is_said(tmp_path):
    path = ReplayBuffer(make_arrays(), ENDS).save(tmp_path / "a.zarr.zip")
    path.write_bytes(path.read_bytes()[:-100])

    assert error_of(path) == (
        f"{path}: is neither a folder nor a complete .zip; if it was downloaded or copied, do it again"
    )


def test_a_damaged_chunk_is_said(tmp_path):
    path = ReplayBuffer(make_arrays(), ENDS).save(tmp_path / "a.zarr")
    (path / "data/pos/c/0/0").write_bytes(b"damaged")

    assert error_of(path).startswith(f"{path}: 'pos' cannot be read (")


def test_a_single_flipped_bit_is_noticed(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (64, 96, 96, 3), dtype=np.uint8)
    path = ReplayBuffer({"img": images}, [64]).save(tmp_path / "a.zarr")
    chunk = path / "data/img/c/0/0/0/0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)

    assert error_of(path).startswith(f"{path}: 'img' cannot be read (")


BLOSC = (numcodecs.Blosc(), zarr.codecs.BloscCodec())


@pytest.mark.parametrize("left", [0, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(
    ("zarr_format", "compressors"),
    [(2, None), (3, None), (2, BLOSC[0]), (3, BLOSC[1]), (2, numcodecs.GZip()), (3, zarr.codecs.ZstdCodec())],
)
@pytest.mark.parametrize("pack", [Path, in_zip])
def test_a_chunk_file_that_was_cut_is_an_error(tmp_path, zarr_format, compressors, left, pack):
    array = np.random.default_rng(0).random((10, 20))
    path = write_two_chunks(tmp_path / "a.zarr", zarr_format, array, compressors=compressors)
    chunk = chunk_files(path)[1]
    chunk.write_bytes(chunk.read_bytes()[: int(left * chunk.stat().st_size)])
    name, inside = chunk.relative_to(path), "a.zarr/" if pack is in_zip else ""

    error = error_of(path := pack(path))

    if compressors in BLOSC:  # which would read what lies behind it in memory
        assert error == (
            f"{path}: is not complete: chunk files of 'pos' are cut short: 1 of 2, the first '{inside}{name}'; "
            "copy or save it again"
        )
    else:
        assert error.startswith(f"{path}: 'pos' cannot be read (")


@pytest.mark.parametrize("pack", [Path, in_zip])
def test_a_chunk_that_was_lost_from_what_was_saved_is_an_error_and_not_zeros(tmp_path, pack):
    img = np.random.default_rng(0).integers(0, 256, (300, 100, 100, 3), dtype=np.uint8)
    path = ReplayBuffer({"img": img, "pos": np.ones((300, 2))}, [300]).save(tmp_path / "a.zarr")
    for name in ("1", "2"):
        (path / f"data/img/c/{name}/0/0/0").unlink()
    inside = "a.zarr/" if pack is in_zip else ""
    path = pack(path)

    message = (
        f"{path}: is not complete: chunk files of 'img' are absent: 2 of 3, the first '{inside}data/img/c/1/0/0/0'; "
        "copy or save it again; append to it with write_empty_chunks, if zarr did"
    )
    assert error_of(path) == message
    assert error_of(path, keys=[], images={"img": (3, 100, 100)}) == message
    assert ReplayBuffer.load(path, keys=["pos"])["pos"].all(), "what is not needed may be absent"


@pytest.mark.parametrize("write_empty_chunks", [True, False])
def test_zeros_that_zarr_appended_to_what_was_saved_are_read_if_they_were_written(tmp_path, write_empty_chunks):
    path = ReplayBuffer({"pos": np.ones((10, 2))}, ENDS).save(tmp_path / "a.zarr")
    with zarr.config.set({"array.write_empty_chunks": write_empty_chunks}):
        root = zarr.open_group(path, mode="r+")
        root["data/pos"].append(np.zeros((10, 2)))
        root["meta/episode_ends"].append(np.array([20]))

    if write_empty_chunks:
        assert ReplayBuffer.load(path)["pos"].sum() == 20
    else:
        assert error_of(path) == (
            f"{path}: is not complete: chunk files of 'pos' are absent: 1 of 2, the first 'data/pos/c/1/0'; copy or "
            "save it again; append to it with write_empty_chunks, if zarr did"
        )


def test_what_was_saved_has_a_file_also_for_chunks_of_zeros(tmp_path, caplog):
    zeros = np.zeros((10, 2))
    path = ReplayBuffer({"pos": zeros}, ENDS).save(tmp_path / "a.zarr")

    assert len(chunk_files(path)) == 1
    np.testing.assert_array_equal(ReplayBuffer.load(path)["pos"], zeros)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("zarr_format", "options", "first"),
    [
        (2, {}, "data/pos/1.0"),
        (2, {"chunk_key_encoding": {"name": "v2", "separator": "/"}}, "data/pos/1/0"),
        (3, {}, "data/pos/c/1/0"),
        (3, {"chunk_key_encoding": {"name": "default", "separator": "."}}, "data/pos/c.1.0"),
        (3, {"chunk_key_encoding": {"name": "v2", "separator": "."}}, "data/pos/1.0"),
        (3, {"chunks": (1, 1), "shards": (5, 2)}, "data/pos/c/1/0"),
    ],
)
@pytest.mark.parametrize("pack", [Path, in_zip])
def test_chunks_that_another_program_left_out_are_one_warning(tmp_path, caplog, zarr_format, options, first, pack):
    array = np.ones((10, 2))
    array[5:] = 0
    path = write_two_chunks(tmp_path / "a.zarr", zarr_format, array, **options)
    inside = "a.zarr/" if pack is in_zip else ""
    path = pack(path)

    np.testing.assert_array_equal(ReplayBuffer.load(path)["pos"], array)

    assert caplog.messages == [
        f"{path}: chunk files of 'pos' are absent: 1 of 2, the first '{inside}{first}', read as 0.0; unless such "
        "values were recorded, copy or convert it again; ReplayBuffer.load and save make a store that is known to be "
        "whole"
    ]


@pytest.mark.parametrize("pack", [Path, in_zip])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_store_of_another_program_that_is_whole_is_no_warning(tmp_path, caplog, zarr_format, pack):
    ReplayBuffer.load(pack(write_two_chunks(tmp_path / "a.zarr", zarr_format)))

    assert caplog.messages == []


def test_episode_ends_that_are_absent_are_an_error_whoever_wrote_the_store(tmp_path):
    path = write_two_chunks(tmp_path / "a.zarr", 2)
    (path / "meta/episode_ends/0").unlink()

    assert error_of(path) == (
        f"{path}: is not complete: chunk files of 'episode_ends' are absent: 1 of 1, the first 'meta/episode_ends/0'; "
        "copy or save it again; append to it with write_empty_chunks, if zarr did"
    )


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.parametrize("pack", [Path, in_zip])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_summary_of_metadata_that_went_stale_is_not_trusted(tmp_path, zarr_format, pack):
    path = write_two_chunks(tmp_path / "a.zarr", zarr_format)
    zarr.open_group(path, mode="r+").create_array("data/gone", data=np.ones(10))
    zarr.consolidate_metadata(path)
    root = zarr.open_group(path, mode="r+", use_consolidated=False)
    del root["data/gone"]
    root["data/pos"].append(np.full((5, 2), 2.0))
    root["meta/episode_ends"].append(np.array([15]))

    buffer = ReplayBuffer.load(pack(path))

    assert (buffer.n_episodes, buffer.n_steps, buffer.keys()) == (3, 15, ["pos"])
    assert (buffer["pos"][10:] == 2).all()


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        (
            [4, 6],
            "'pos' has 10 steps, but the episodes have 6",
        ),
        (
            [6, 4, 10],
            "episode_ends must rise from episode to episode: it is the step after the last of each, counted from the "
            "start of the data; episode 1 has -2 steps",
        ),
        ([4.5, 10], "episode_ends is float64 (2,); expected whole numbers, one for each episode"),
        ([[4, 10]], "episode_ends is int64 (1, 2); expected whole numbers, one for each episode"),
    ],
)
def test_arrays_are_taken_over_only_with_ends_that_fit_them(ends, message):
    with pytest.raises(DataError) as caught:
        ReplayBuffer({"pos": np.zeros((10, 2))}, ends)

    assert str(caught.value) == message


def test_arrays_of_another_length_are_refused(tmp_path):
    root = zarr.open_group(path := tmp_path / "a.zarr", mode="w")
    root.create_array("data/pos", data=np.zeros((9, 2)))
    root.create_array("meta/episode_ends", data=ENDS)

    assert error_of(path) == (
        f"{path}: 'pos' has shape (9, 2), but the episodes have 10 steps; every array must have one entry per step"
    )


@pytest.mark.parametrize("ends", [[], [0, 10], [6, 4, 10]])
def test_episode_ends_that_make_no_sense_are_refused(tmp_path, ends):
    root = zarr.open_group(path := tmp_path / "a.zarr", mode="w")
    root.create_array("data/pos", data=np.zeros((10, 2)))
    root.create_array("meta/episode_ends", data=np.array(ends, dtype=np.int64))

    assert "episode" in error_of(path)


@pytest.mark.parametrize(
    ("episode", "message"),
    [
        ({"pos": np.zeros((3, 2))}, "episode 1: has 'pos'; the episodes before have 'img', 'pos'"),
        (
            {"img": np.zeros((3, 5, 6, 3), np.uint8), "pos": np.zeros((2, 2), np.float32)},
            "episode 1: expected arrays of one length, at least 1, got 'img' 3, 'pos' 2",
        ),
        (
            {"img": np.zeros((3, 5, 6, 3), np.uint8), "pos": np.zeros((3, 2))},
            "episode 1: 'pos' is float64 (2,) in each step; in the episodes before it is float32 (2,)",
        ),
        (
            {"img": np.zeros((3, 5, 6, 3), np.uint8), "pos": [["a", "b"]] * 3},
            "episode 1: 'pos' is strings (2,) in each step; in the episodes before it is float32 (2,)",
        ),
    ],
)
def test_an_episode_that_does_not_match_is_refused_and_nothing_is_added(episode, message):
    buffer = ReplayBuffer()
    buffer.append(make_arrays())

    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        buffer.append(episode)

    assert buffer.n_steps == len(buffer["img"]) == len(buffer["pos"]) == 10


def test_saving_replaces_only_when_asked_to(tmp_path):
    for name in ("a.zarr", "a.zarr.zip"):
        path = ReplayBuffer({"pos": np.zeros(3)}, [3]).save(tmp_path / name)
        newer = ReplayBuffer({"pos": np.ones(2)}, [2])

        with pytest.raises(DataError, match="exists already; choose another name, or save with overwrite=True"):
            newer.save(path)
        newer.save(path, overwrite=True)

        assert ReplayBuffer.load(path)["pos"].tolist() == [1, 1]


def test_nothing_is_left_behind_when_writing_fails(tmp_path):
    buffer = ReplayBuffer({"bad": np.array([object()])}, [1])

    with pytest.raises(ValueError, match="object"):
        buffer.save(tmp_path / "a.zarr.zip")

    assert list(tmp_path.iterdir()) == []


def test_an_empty_buffer_is_not_saved(tmp_path):
    with pytest.raises(DataError, match="there are no episodes to save; append some first"):
        ReplayBuffer().save(tmp_path / "a.zarr")


def test_the_published_archive_is_read(pusht_archive):
    with open_store(pusht_archive) as store:
        assert store.keys() == ["action", "img", "keypoint", "n_contacts", "state"]
        assert store.shape("img") == (96, 96, 3)
        assert (len(store.episode_ends), store.episode_ends[-1]) == (206, 25650)
        assert store.read("state").shape == (25650, 5)
