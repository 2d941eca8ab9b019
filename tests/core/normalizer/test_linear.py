"""Normalising data: the original's numbers bit for bit, and what a user meets when keys, sizes or devices differ."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from dp_core.errors import InputError
from dp_core.normalizer import LinearNormalizer, SingleFieldLinearNormalizer, array_to_stats


@pytest.fixture(scope="module")
def numbers(golden) -> dict[str, np.ndarray]:
    with np.load(golden("c_normalizer.npz")) as archive:
        return dict(archive)


def assert_state_is(module: torch.nn.Module, numbers: dict[str, np.ndarray], case: str) -> None:
    expected = {name.removeprefix(f"{case}/sd/"): value for name, value in numbers.items() if f"{case}/sd/" in name}
    state = module.state_dict()
    assert list(state) == list(expected)
    for name, value in expected.items():
        assert state[name].dtype == torch.float32
        np.testing.assert_array_equal(state[name].numpy(), value, err_msg=name)


@pytest.mark.parametrize("mode", ["limits", "gaussian"])
@pytest.mark.parametrize("fit_offset", [True, False])
def test_fit_equals_the_original_bit_for_bit(numbers, mode, fit_offset) -> None:
    case = f"{mode}_offset{int(fit_offset)}"

    field = SingleFieldLinearNormalizer.create_fit(numbers["data"], mode=mode, fit_offset=fit_offset)

    assert_state_is(field, numbers, case)
    np.testing.assert_array_equal(field.normalize(numbers["x"]).numpy(), numbers[f"{case}/normalize_x"])
    np.testing.assert_array_equal(field.unnormalize(numbers["x"]).numpy(), numbers[f"{case}/unnormalize_x"])


def test_fit_to_another_output_range_equals_the_original(numbers) -> None:
    field = SingleFieldLinearNormalizer.create_fit(numbers["data"], output_min=-0.5, output_max=2.0)

    assert_state_is(field, numbers, "limits_out_m0.5_2")
    np.testing.assert_array_equal(field(numbers["x"]).numpy(), numbers["limits_out_m0.5_2/normalize_x"])


@pytest.mark.parametrize("last_n_dims", [0, 1, 2])
def test_statistics_over_several_trailing_dimensions_equal_the_original(numbers, last_n_dims) -> None:
    field = SingleFieldLinearNormalizer.create_fit(numbers["data3d"], last_n_dims=last_n_dims)

    case = f"limits_last_n_dims{last_n_dims}"
    assert_state_is(field, numbers, case)
    np.testing.assert_array_equal(field(numbers["data3d"]).numpy(), numbers[f"{case}/normalize_data3d"])


def test_dictionary_with_an_image_equals_the_original(numbers) -> None:
    normalizer = LinearNormalizer()
    normalizer.fit({"action": numbers["data"], "obs": numbers["data3d"]})
    normalizer["image"] = SingleFieldLinearNormalizer.create_image()

    scaled = normalizer.normalize({"action": numbers["x"], "image": numbers["dict/x_image"]})

    assert_state_is(normalizer, numbers, "dict")
    np.testing.assert_array_equal(scaled["action"].numpy(), numbers["dict/normalize_action"])
    np.testing.assert_array_equal(scaled["image"].numpy(), numbers["dict/normalize_image"])
    restored = normalizer.unnormalize({"action": scaled["action"]})["action"]
    np.testing.assert_array_equal(restored.numpy(), numbers["dict/unnormalize_action"])
    np.testing.assert_array_equal(normalizer["action"](numbers["x"]).numpy(), scaled["action"].numpy())


def test_bare_array_is_a_field_without_a_name(numbers) -> None:
    normalizer = LinearNormalizer()
    normalizer.fit(numbers["data"])

    assert_state_is(normalizer, numbers, "default")
    np.testing.assert_array_equal(normalizer(numbers["x"]).numpy(), numbers["default/normalize_x"])


def test_identity_equals_the_original(numbers) -> None:
    assert_state_is(SingleFieldLinearNormalizer.create_identity(), numbers, "identity")


def test_range_from_statistics_equals_the_original(numbers) -> None:
    field = SingleFieldLinearNormalizer.create_range(array_to_stats(numbers["data"]))

    assert_state_is(field, numbers, "range_from_stat")
    np.testing.assert_array_equal(field(numbers["x"]).numpy(), numbers["range_from_stat/normalize_x"])


def test_empty_normalizer_loads_any_checkpoint(numbers) -> None:
    state = {
        name.removeprefix("dict/sd/"): torch.from_numpy(value)
        for name, value in numbers.items()
        if name.startswith("dict/sd/")
    }
    normalizer = LinearNormalizer()

    normalizer.load_state_dict(state, strict=True)

    assert normalizer.keys() == ["action", "obs", "image"]
    assert_state_is(normalizer, numbers, "dict")
    assert normalizer["action"].scale.data_ptr() != state["params_dict.action.scale"].data_ptr()


def test_loading_takes_over_the_fields_of_the_checkpoint() -> None:
    source, target = LinearNormalizer(), LinearNormalizer()
    source.fit({"action": torch.rand(9, 2)})
    target.fit({"action": torch.rand(9, 3), "old": torch.rand(9, 1)})

    target.load_state_dict(source.state_dict())

    assert target.keys() == ["action"]
    assert torch.equal(target["action"].scale, source["action"].scale)


def test_loading_the_same_fields_keeps_the_tensors() -> None:
    source, target = LinearNormalizer(), LinearNormalizer()
    source.fit({"action": torch.rand(9, 2)})
    target.fit({"action": torch.rand(9, 2)})
    before = target["action"].scale

    target.load_state_dict(source.state_dict())

    assert target["action"].scale is before
    assert torch.equal(before, source["action"].scale)


def test_weights_inside_a_policy_load_under_its_prefix_and_without_a_normalizer_leave_it_alone() -> None:
    policy = torch.nn.ModuleDict({"normalizer": LinearNormalizer(), "net": torch.nn.Linear(1, 1)})
    fitted = copy.deepcopy(policy)
    fitted["normalizer"].fit({"action": torch.rand(9, 2)})

    policy.load_state_dict(fitted.state_dict())
    missing = policy.load_state_dict(policy["net"].state_dict(prefix="net."), strict=False).missing_keys

    assert policy["normalizer"].keys() == ["action"]
    assert missing == [f"normalizer.{name}" for name in policy["normalizer"].state_dict()]


def test_incomplete_or_foreign_names_are_reported() -> None:
    normalizer = LinearNormalizer()

    report = normalizer.load_state_dict(
        {f"params_dict.{name}": torch.ones(2) for name in ("a.scale", "a.shift", "b.shift")}, strict=False
    )

    assert sorted(report.unexpected_keys) == ["params_dict.a.shift", "params_dict.b.shift"]
    assert "params_dict.a.offset" in report.missing_keys
    assert normalizer["a"].offset.isnan().all()


@pytest.mark.parametrize("key", ["robot.pos", "keys", "params_dict", "scale", "forward", "input_stats.max"])
def test_keys_may_have_any_name(key) -> None:
    source, target = LinearNormalizer(), LinearNormalizer()
    source.fit({key: torch.rand(9, 2)})

    target.load_state_dict(source.state_dict())

    assert target.keys() == [key]
    assert torch.equal(target.normalize({key: torch.ones(2)})[key], source.normalize({key: torch.ones(2)})[key])


def test_nothing_is_a_parameter_and_everything_follows_the_module() -> None:
    normalizer = LinearNormalizer().to("meta")
    normalizer["action"] = SingleFieldLinearNormalizer.create_image()

    assert list(normalizer.parameters()) == []
    assert normalizer["action"].scale.device.type == "meta"


def test_loading_lands_on_the_device_of_the_module() -> None:
    source = LinearNormalizer()
    source.fit({"action": torch.rand(9, 2)})
    target = LinearNormalizer().to("meta")

    with pytest.warns(UserWarning, match="is a no-op"):
        target.load_state_dict(source.state_dict())

    assert target["action"].scale.device.type == "meta"


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_are_independent(duplicate) -> None:
    normalizer = LinearNormalizer()
    normalizer.fit({"action": torch.rand(9, 2)})

    twin = duplicate(normalizer)
    twin["action"].scale.zero_()

    assert twin.keys() == ["action"]
    assert (normalizer["action"].scale > 0).all()


def test_stored_field_is_a_copy() -> None:
    field = SingleFieldLinearNormalizer.create_image()
    normalizer = LinearNormalizer()

    normalizer["image"] = field
    field.scale.zero_()

    assert normalizer["image"].scale.item() == 2


def test_uint8_images_are_divided_by_255() -> None:
    image = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    normalizer = LinearNormalizer()
    normalizer["image"] = SingleFieldLinearNormalizer.create_image()

    from_uint8 = normalizer.normalize({"image": image})["image"]

    assert torch.equal(from_uint8, normalizer.normalize({"image": image.float() / 255})["image"])
    assert (from_uint8.min().item(), from_uint8.max().item()) == (-1, 1)
    assert torch.equal(from_uint8, normalizer.normalize({"image": image.numpy()})["image"])


SHAPE_META = {
    "obs": {"image": {"shape": [3, 4, 4], "type": "rgb"}, "grip": {"shape": [1], "type": "low_dim"}},
    "action": {"shape": [1]},
}


def flags() -> LinearNormalizer:
    """Of an image, and of a gripper flag whose limits are those of an image."""
    normalizer = LinearNormalizer(SHAPE_META)
    normalizer["image"] = SingleFieldLinearNormalizer.create_image()
    normalizer["grip"] = SingleFieldLinearNormalizer.create_fit(torch.tensor([[0.0], [1.0], [1.0]]))
    return normalizer


def loaded(state: dict[str, torch.Tensor], shape_meta: dict | None) -> LinearNormalizer:
    normalizer = LinearNormalizer(shape_meta)
    normalizer.load_state_dict(state)
    return normalizer


WHITE_AND_CLOSED = {"image": torch.tensor([255], dtype=torch.uint8), "grip": torch.tensor([1], dtype=torch.uint8)}


@pytest.mark.parametrize(
    "survive",
    [
        copy.deepcopy,
        lambda normalizer: pickle.loads(pickle.dumps(normalizer)),
        lambda normalizer: loaded(dict(normalizer.state_dict()), SHAPE_META),
        lambda normalizer: loaded(normalizer.state_dict(), None),
        lambda normalizer: loaded(copy.deepcopy(normalizer.state_dict()), None),
    ],
    ids=["deepcopy", "pickle", "names and tensors", "a bare normalizer", "a copied state dict"],
)
def test_whether_uint8_is_an_image_is_a_matter_of_the_key(survive) -> None:
    normalized = survive(flags()).normalize(WHITE_AND_CLOSED)

    assert {key: value.tolist() for key, value in normalized.items()} == {"image": [1], "grip": [1]}


def test_shape_meta_tells_images_whose_numbers_are_unusual() -> None:
    state = flags().state_dict()
    state["params_dict.image.input_stats.std"] = torch.tensor([torch.nan])  # as converted from elsewhere

    assert loaded(dict(state), SHAPE_META).normalize(WHITE_AND_CLOSED)["image"].tolist() == [1]


def test_a_bare_normalizer_knows_images_by_their_numbers_and_asks_about_the_rest() -> None:
    normalizer = loaded(dict(flags().state_dict()), None)

    assert normalizer.normalize({"image": WHITE_AND_CLOSED["image"]})["image"].tolist() == [1]
    assert normalizer.normalize({"grip": torch.tensor([True])})["grip"].tolist() == [1]
    with pytest.raises(InputError) as caught:
        normalizer.normalize(WHITE_AND_CLOSED)
    assert str(caught.value) == (
        "normalizer: 'grip' is torch.uint8, and nothing says whether that is an image or a number; build the "
        "normalizer as LinearNormalizer(shape_meta)"
    )


def test_what_a_key_is_stays_out_of_the_names_of_the_state_dict() -> None:
    assert not [name for name in flags().state_dict() if "type" in name]


def test_memory_format_of_images_is_kept() -> None:
    image = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)

    scaled = SingleFieldLinearNormalizer.create_image().normalize(image)

    assert scaled.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("mode", ["limits", "gaussian"])
def test_unnormalize_inverts_normalize(mode) -> None:
    data = torch.rand(50, 4) * torch.tensor([1.0, 10.0, 100.0, 1000.0])
    field = SingleFieldLinearNormalizer.create_fit(data, mode=mode)

    torch.testing.assert_close(field.unnormalize(field.normalize(data)), data, rtol=1e-5, atol=1e-4)


def test_one_sample_can_be_fitted() -> None:
    field = SingleFieldLinearNormalizer.create_fit(torch.tensor([[3.0, 4.0]]))

    assert field.input_stats["std"].tolist() == [0, 0]
    assert field.normalize(torch.tensor([3.0, 4.0])).tolist() == [0, 0]


def test_read_only_memory_map_is_fitted_where_it_lies(tmp_path) -> None:
    np.save(tmp_path / "data.npy", np.random.default_rng(0).random((100, 2), dtype=np.float32))
    data = np.load(tmp_path / "data.npy", mmap_mode="r")

    field = SingleFieldLinearNormalizer.create_fit(data)

    np.testing.assert_array_equal(field.input_stats["max"].numpy(), data.max(0))


def test_keys_without_statistics_are_all_named() -> None:
    normalizer = LinearNormalizer()
    normalizer.fit({"action": torch.rand(9, 2), "agent_pos": torch.rand(9, 2)})

    with pytest.raises(InputError) as error:
        normalizer.normalize({"agent_pos": torch.rand(2), "imgae": torch.rand(2), "force": torch.rand(2)})

    assert str(error.value) == (
        "normalizer: no statistics for 'imgae', 'force'; expected 'action', 'agent_pos'; fit it on every key in use"
    )


def test_empty_normalizer_says_what_to_do() -> None:
    with pytest.raises(InputError) as error:
        LinearNormalizer().normalize({"action": torch.rand(2)})

    assert str(error.value) == (
        "normalizer: is empty; call set_normalizer(dataset.get_normalizer()), or load a checkpoint, first"
    )


def test_bare_tensor_needs_a_bare_fit() -> None:
    normalizer = LinearNormalizer()
    normalizer.fit({"action": torch.rand(9, 2)})

    with pytest.raises(InputError, match="no statistics for a bare tensor; expected 'action'"):
        normalizer.normalize(torch.rand(2))


def test_data_is_never_moved_silently() -> None:
    normalizer = LinearNormalizer()
    normalizer.fit({"action": torch.rand(9, 2)})

    with pytest.raises(InputError) as error:
        normalizer.normalize({"action": torch.rand(2, device="meta")})

    assert str(error.value) == (
        "normalizer: 'action' is on meta, the normalizer on cpu; move the data to the policy's device"
    )


def test_wrong_size_is_named() -> None:
    normalizer = LinearNormalizer()
    normalizer.fit({"action": torch.rand(9, 2)})

    with pytest.raises(InputError) as error:
        normalizer.normalize({"action": torch.rand(4, 3)})

    assert str(error.value) == "normalizer: 'action' has shape (4, 3); expected 2 values in its last dimension"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((0, 2), np.float32), "normalizer: there is no data to fit; expected at least one sample"),
        (
            np.array([[1.0], [np.nan]], np.float32),
            "normalizer: the data has NaN or infinite values; remove them before fitting",
        ),
    ],
)
def test_unusable_data_is_refused(data, message) -> None:
    with pytest.raises(InputError) as error:
        SingleFieldLinearNormalizer.create_fit(data)

    assert str(error.value) == message


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(InputError) as error:
        SingleFieldLinearNormalizer.create_fit(torch.rand(9, 2), mode="limit")

    assert str(error.value) == "normalizer: mode 'limit' is not one of 'limits', 'gaussian'"


def test_manual_numbers_must_agree_in_shape() -> None:
    stats = {"min": [0.0], "max": [1.0], "mean": [0.5], "std": [0.1]}

    with pytest.raises(InputError) as error:
        SingleFieldLinearNormalizer.create_manual([1.0, 1.0], [0.0], stats)

    assert str(error.value) == (
        "normalizer: shapes differ: 'offset' (1,), 'scale' (2,), 'input_stats.max' (1,), 'input_stats.mean' (1,), "
        "'input_stats.min' (1,), 'input_stats.std' (1,); expected one shape (D,) for all"
    )


@pytest.mark.parametrize(("scale", "offset"), [(0.0, 0.0), (np.inf, 0.0), (np.nan, 0.0), (1.0, -np.inf)])
def test_what_nothing_could_be_scaled_back_with_is_refused(scale, offset) -> None:
    stats = {"min": [0.0], "max": [1.0], "mean": [0.5], "std": [0.1]}
    with pytest.raises(InputError) as caught:
        SingleFieldLinearNormalizer.create_manual([scale], [offset], stats)

    assert str(caught.value) == (
        "normalizer: a scale is zero or not finite, or an offset is not finite; check the statistics"
    )
