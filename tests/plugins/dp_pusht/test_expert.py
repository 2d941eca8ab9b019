"""The scripted expert and the demonstrations that come with the project."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import shapely

from dp_core.errors import DataError, InputError
from dp_pusht import expert_cli
from dp_pusht.demonstrations import SHIPPED, Demonstration, load_demonstrations, save_demonstrations
from dp_pusht.expert.contacts import contact_points
from dp_pusht.expert.planner import ramp
from dp_pusht.expert.pushes import Push, PushSimulator, distance_to_goal
from dp_pusht.expert.reach import CLEARANCE, ReachMap
from dp_pusht.expert.recorder import record_demonstration
from dp_pusht.geometry import GOAL_POSE, OUTLINE, block_polygon
from dp_pusht.gym_env import PushTEnv


def make(path: Path, *arguments: str) -> dict[str, np.ndarray]:
    assert expert_cli.main([*arguments, "--output", str(path)]) == 0
    return load_demonstrations(path)


def test_seed_reproduces_the_demonstrations_that_are_shipped(tmp_path: Path) -> None:
    shipped = load_demonstrations()
    made = make(tmp_path / "two.npz", "--episodes", "2")
    end = made["episode_ends"][-1]

    np.testing.assert_array_equal(made["episode_ends"], shipped["episode_ends"][:2])
    np.testing.assert_array_equal(made["state"], shipped["state"][:end])
    np.testing.assert_array_equal(made["action"], shipped["action"][:end])


@pytest.mark.slow
def test_number_of_workers_makes_no_difference(tmp_path: Path) -> None:
    alone = make(tmp_path / "alone.npz", "--episodes", "2", "--seed", "7")
    shared = make(tmp_path / "shared.npz", "--episodes", "2", "--seed", "7", "--workers", "2")

    for key in alone:
        np.testing.assert_array_equal(shared[key], alone[key])


def test_unsolved_starts_are_left_out_and_replaced_by_later_ones() -> None:
    def apply(function: object, seeds: Iterable[int]) -> list[Demonstration | None]:
        assert function is record_demonstration
        return [None if seed in (11, 13) else Demonstration(np.full((1, 5), seed), np.zeros((1, 2))) for seed in seeds]

    demonstrations, n_tried = expert_cli.record(4, 10, apply)

    assert [demonstration.state[0, 0] for demonstration in demonstrations] == [10, 12, 14, 15]
    assert n_tried == 6


def test_command_says_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "one.npz"
    expert_cli.main(["--episodes", "1", "--seed", "4", "--output", str(path)])
    n_steps = load_demonstrations(path)["episode_ends"][-1]

    said = capsys.readouterr().out
    assert said.startswith(f"{path}: 1 episodes, {n_steps} steps, ")
    assert "the expert solved 1 of 1 starts in " in said


def test_missing_output_folder_is_reported_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        expert_cli.main(["--output", str(tmp_path / "absent" / "x.npz")])

    assert str(caught.value) == f"--output: there is no folder '{tmp_path / 'absent'}'; create it first"


def test_shipped_demonstrations_are_complete_and_small() -> None:
    shipped = load_demonstrations()
    lengths = np.diff(shipped["episode_ends"], prepend=0)

    assert SHIPPED.stat().st_size < 500_000
    assert len(lengths) == 250
    assert len(shipped["state"]) == len(shipped["action"]) == lengths.sum()
    assert lengths.max() <= 300
    assert (shipped["state"].dtype, shipped["action"].dtype) == (np.float32, np.float32)
    assert shipped["action"].min() >= 0
    assert shipped["action"].max() <= 512


def test_shipped_demonstrations_nearly_cover_the_goal() -> None:
    """The last state is the one before the step that solved the task."""
    shipped = load_demonstrations()
    covered = [
        PushTEnv(("state",)).reset(options={"state": shipped["state"][end - 1]})[1]["coverage"]
        for end in shipped["episode_ends"][:20]
    ]

    assert np.min(covered) > 0.6
    assert np.mean(covered) > 0.85


def test_file_round_trip_is_exact_up_to_its_resolution(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    demonstrations = [
        Demonstration(
            state=np.hstack([random.uniform(-20, 530, (n, 4)), random.uniform(0, 2 * math.pi, (n, 1))]),
            action=random.uniform(0, 512, (n, 2)),
        )
        for n in (5, 1, 9)
    ]
    save_demonstrations(tmp_path / "a.npz", demonstrations)
    once = load_demonstrations(tmp_path / "a.npz")
    ends = once["episode_ends"].tolist()
    again = [
        Demonstration(once["state"][a:b].astype(float), once["action"][a:b].astype(float))
        for a, b in zip([0, *ends], ends, strict=False)
    ]
    save_demonstrations(tmp_path / "b.npz", again)

    assert ends == [5, 6, 15]
    np.testing.assert_allclose(
        once["state"][:, :4], np.concatenate([d.state for d in demonstrations])[:, :4], atol=0.008
    )
    np.testing.assert_allclose(once["state"][:, 4], np.concatenate([d.state for d in demonstrations])[:, 4], atol=6e-5)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    absent, text, other = tmp_path / "absent.npz", tmp_path / "text.npz", tmp_path / "other.npz"
    text.write_text("hello")
    np.savez(other, x=np.zeros(3))

    with pytest.raises(DataError) as caught:
        load_demonstrations(absent)
    assert str(caught.value) == f"{absent}: there is no such file; make it with: dp-data expert pusht --output {absent}"
    for path in (text, other):
        with pytest.raises(DataError, match="not a file of Push-T demonstrations"):
            load_demonstrations(path)


def test_a_flipped_bit_is_found_or_changes_nothing(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    demonstration = Demonstration(random.uniform(0, 6, (40, 5)), random.uniform(0, 500, (40, 2)))
    save_demonstrations(tmp_path / "a.npz", [demonstration])
    whole, expected = (tmp_path / "a.npz").read_bytes(), load_demonstrations(tmp_path / "a.npz")
    n_found = 0
    for position in range(0, len(whole), 5):
        damaged = bytearray(whole)
        damaged[position] ^= 0x40
        (tmp_path / "b.npz").write_bytes(damaged)
        try:
            found = load_demonstrations(tmp_path / "b.npz")
        except DataError:
            n_found += 1
        else:
            for key, values in expected.items():
                np.testing.assert_array_equal(found[key], values)

    assert n_found > len(whole) / 5 / 2


@pytest.mark.parametrize("value", [1000.0, -300.0, np.nan])
def test_values_off_the_table_are_not_written(tmp_path: Path, value: float) -> None:
    demonstration = Demonstration(state=np.full((2, 5), value), action=np.zeros((2, 2)))

    with pytest.raises(InputError) as caught:
        save_demonstrations(tmp_path / "x.npz", [demonstration])

    assert (
        str(caught.value) == f"{tmp_path / 'x.npz'}: a position or an angle is far off the table; nothing was written"
    )
    assert not (tmp_path / "x.npz").exists()


def test_contacts_lie_on_the_outline_and_face_outwards() -> None:
    points, normals = contact_points()
    polygon = shapely.Polygon(OUTLINE)

    assert points.shape == normals.shape == (20, 2)
    assert shapely.distance(polygon.exterior, shapely.points(points)).max() < 1e-9
    assert not shapely.contains(polygon, shapely.points(points + normals)).any()
    assert shapely.contains(polygon, shapely.points(points - normals)).all()


def test_ramp_follows_the_path_at_constant_speed() -> None:
    assert ramp(np.array([[0.0, 0.0], [5.0, 0.0], [5.0, 7.0]]), 4.0) == [(4, 0), (5, 3), (5, 7)]


def test_path_goes_around_the_block() -> None:
    block = block_polygon((256.0, 200.0, 0.0))
    goal = (256.0, 380.0)
    path = ReachMap((256.0, 120.0), block).path(goal)

    np.testing.assert_array_equal(path[0], (256.0, 120.0))
    np.testing.assert_array_equal(path[-1], goal)
    assert shapely.distance(block, shapely.points(path)).min() > CLEARANCE - 8


def test_point_inside_the_block_cannot_be_reached() -> None:
    assert math.isinf(ReachMap((50.0, 50.0), block_polygon((256.0, 200.0, 0.0))).cost((256.0, 260.0)))


def test_push_towards_the_goal_reduces_the_distance() -> None:
    pose = (256.0, 230.0, math.pi / 4)
    x, y = pose[0], pose[1]
    push = Push((x + 30.0, y - 60.0), (0.0, 1.0))
    exploration = PushSimulator().explore(push, pose)

    assert distance_to_goal(GOAL_POSE) < 1e-9
    assert distance_to_goal(pose) == pytest.approx(26.0)
    assert exploration.distance < 26.0
    assert exploration.length > 0
