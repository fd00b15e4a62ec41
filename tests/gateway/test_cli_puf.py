"""`cpc puf assess` as a user types it: recorded chips, pictures, and files that are none."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from gateway.cli_output import EXIT_FAILED, EXIT_NOT_PROVEN, EXIT_OK, EXIT_USAGE
from gateway.cli_puf_show import Blocks, distance_plot, stability_map
from puf.assess import assess
from tests.gateway.commands import Cpc, finished
from tests.puf import recorded


def chip_file(folder: Path, seed: int, ones: float = 0.5, size: int = 2048, count: int = 5) -> Path:
    """A simulated chip, in a file with a name that says its form."""
    chance = np.random.default_rng(seed)
    cells = chance.random(8 * size) < ones
    path = folder / f"chip{seed}_{count}x{size}.bin"
    path.write_bytes(
        b"".join(np.packbits(cells ^ (chance.random(8 * size) < 0.03)).tobytes() for _ in range(count))
    )
    return path


def test_recorded_chips_are_judged_as_they_should(cpc: Cpc) -> None:
    scum = cpc.lines("puf", "assess", *map(recorded.path, recorded.SCUM))
    assert [chip["verdict"] for chip in scum] == ["PASS", "PASS"]
    assert [chip["inter"]["count"] for chip in scum] == [1, 1]
    atmega = list(map(recorded.path, recorded.ATMEGA))
    refused = cpc.lines("puf", "assess", *atmega, exit_code=EXIT_NOT_PROVEN)
    assert [chip["verdict"] for chip in refused] == ["REFUSED (bias)"] * 2
    debiased = cpc.lines("puf", "assess", atmega[0], "--debias", exit_code=EXIT_NOT_PROVEN)
    assert debiased[0]["verdict"] == "REFUSED (too few cells after debiasing)"
    assert debiased[0]["fit"]["bits_available"] == 3381
    # One bad chip among good ones is enough for the exit code.
    cpc.lines(*("puf", "assess", recorded.path(recorded.SCUM[1]), atmega[1]), exit_code=EXIT_NOT_PROVEN)
    assert "there are 2 sizes" in cpc.err


def test_a_person_reads_figures_plots_and_the_verdict(cpc: Cpc, tmp_path: Path) -> None:
    first, second = chip_file(tmp_path, 1), chip_file(tmp_path, 2)
    text = cpc("puf", "assess", first, second)
    assert text.count("  PASS: 16,384 cells for the 5,355 that a key of 128 bits takes") == 2
    for part in ("ones ", "noise ", "stable cells", "min-entropy", "within this chip", "to other chips"):
        assert text.count(f"  {part}") == 2, part
    assert max(map(len, text.splitlines())) < 220


def test_debiasing_is_judged_when_asked_for(cpc: Cpc, tmp_path: Path) -> None:
    path = chip_file(tmp_path, 3, ones=0.38, size=4096)
    assert "debiasing makes it fit" in cpc("puf", "assess", path, exit_code=EXIT_NOT_PROVEN)
    text = cpc("puf", "assess", path, "--debias")
    assert "PASS AFTER DEBIASING" in text
    assert "debiased, per pair" in text


def test_json_has_every_figure_and_no_prose(cpc: Cpc, tmp_path: Path) -> None:
    path = chip_file(tmp_path, 4)
    (chip,) = cpc.lines("puf", "assess", path, "--key-bits", "256")
    assert chip["file"] == str(path)
    assert (chip["is_pass"], chip["readout_count"], chip["cell_count"]) == (True, 5, 16_384)
    assert chip["fit"]["key_bits"] == 256
    assert chip["fit"]["bits_needed"] == 8925
    assert "measured" not in chip


@pytest.mark.parametrize(
    ("name", "size", "options", "code", "says"),
    [
        (
            "a_3x64.bin",
            191,
            (),
            EXIT_FAILED,
            "191 bytes, but its name says 3 readouts of 64 bytes, which are 192",
        ),
        ("a.bin", 192, (), EXIT_USAGE, "say --readout-bytes N (the file has 192 bytes)"),
        (
            "a.bin",
            200,
            ("--readout-bytes", "64"),
            EXIT_FAILED,
            "and 8 bytes from offset 192 on that are none",
        ),
        ("a.bin", 64, ("--readout-bytes", "64"), EXIT_FAILED, "one readout of 64 bytes"),
        ("a_1x64.bin", 64, (), EXIT_FAILED, "one readout of 64 bytes"),
        ("a.bin", 0, ("--readout-bytes", "64"), EXIT_FAILED, "a.bin is empty"),
        ("a_3x64.bin", 0, (), EXIT_FAILED, "a_3x64.bin is empty"),
        ("a.bin", 64, ("--readout-bytes", "0"), EXIT_USAGE, "at least one byte"),
        ("a_0x0.bin", 0, (), EXIT_USAGE, "at least one byte"),
        ("a.bin", 64, ("--readout-bytes", "4"), EXIT_FAILED, "a.bin: a readout of 4 bytes is too short"),
    ],
)
def test_a_file_that_is_none_is_named_with_what_is_wrong(
    cpc: Cpc, tmp_path: Path, name: str, size: int, options: tuple[str, ...], code: int, says: str
) -> None:
    (tmp_path / name).write_bytes(bytes(size))
    cpc("puf", "assess", tmp_path / name, *options, exit_code=code)
    assert f"cpc puf: {tmp_path / name}" in cpc.err or code == EXIT_USAGE
    assert says in cpc.err


def test_a_file_that_cannot_be_read_is_named(cpc: Cpc, tmp_path: Path) -> None:
    cpc("puf", "assess", tmp_path / "nobody_2x64.bin", exit_code=EXIT_FAILED)
    assert "nobody_2x64.bin" in cpc.err
    cpc("puf", "assess", tmp_path, "--readout-bytes", "64", exit_code=EXIT_FAILED)
    assert str(tmp_path) in cpc.err


def test_a_size_on_the_command_line_counts_more_than_the_name(cpc: Cpc, tmp_path: Path) -> None:
    path = chip_file(tmp_path, 5, size=2048, count=4)
    (chip,) = cpc.lines("puf", "assess", path, "--readout-bytes", "4096", exit_code=EXIT_NOT_PROVEN)
    assert (chip["readout_count"], chip["cell_count"]) == (2, 32_768)
    # Twice the true size: the content repeats, and what is counted twice is no entropy.
    assert chip["verdict"] == "REFUSED (entropy)"


# Plots


def test_distances_stand_where_the_axis_says() -> None:
    chance = np.random.default_rng(1)
    cells = chance.random(8 * 512) < 0.5
    readouts = [np.packbits(cells ^ (chance.random(8 * 512) < 0.1)).tobytes() for _ in range(6)]
    found = assess(readouts, [np.packbits(chance.random(8 * 512) < 0.5).tobytes()])
    within, others, axis = distance_plot(found, Blocks(".:-=+*#@", " .:+#"))
    zero = axis.index("0 %")
    marks = [at - zero for at, mark in enumerate(within) if mark in ".:-=+*#@" and at >= zero]
    assert marks
    assert all(abs(at - 100 * found.intra.mean) <= 3 for at in marks)
    assert others.rstrip().index("@") - zero == int(100 * found.measured.inter[0])


def test_the_map_is_dark_where_cells_err() -> None:
    good = np.random.default_rng(2).bytes(512)
    bad = bytes(16) + good[16:]
    found = assess([good, good, good, bad])
    rows = stability_map(found, Blocks(".:-=+*#@", " .:+#"))
    assert "#" in rows[0]
    assert not set("".join(rows[1:-1]).replace("|", "").strip()) & set(".:+#")


def test_a_terminal_without_block_characters_gets_others(tmp_path: Path) -> None:
    path = chip_file(tmp_path, 6, count=3)
    done = finished("puf", "assess", path, env={"PYTHONIOENCODING": "ascii", "PATH": ""})
    assert done.returncode == EXIT_OK, done.stderr
    assert done.stdout.isascii()
    assert b"\\u" not in done.stdout


def test_each_chip_gets_its_picture_in_a_folder(cpc: Cpc, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first, second = chip_file(tmp_path, 7), chip_file(tmp_path, 8)
    same_name = tmp_path / "other" / first.name
    same_name.write_bytes(second.read_bytes())
    cpc("puf", "assess", first, same_name, "--plot", tmp_path / "new" / "pictures")
    assert sorted(path.name for path in (tmp_path / "new" / "pictures").iterdir()) == [
        "chip7_5x2048-2.png",
        "chip7_5x2048.png",
    ]


def test_pictures_are_png_and_their_places_are_printed(cpc: Cpc, tmp_path: Path) -> None:
    path = chip_file(tmp_path, 9)
    text = cpc("puf", "assess", path, "--plot", tmp_path / "one.png")
    assert f"picture           {tmp_path / 'one.png'}" in text
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize(
    ("where", "says"),
    [("one.png", "2 chips make as many pictures"), ("one.pdf", "neither a .png file nor a")],
)
def test_a_place_that_cannot_take_the_pictures_is_refused(
    cpc: Cpc, tmp_path: Path, where: str, says: str
) -> None:
    files = chip_file(tmp_path, 10), chip_file(tmp_path, 11)
    cpc("puf", "assess", *files, "--plot", tmp_path / where, exit_code=EXIT_USAGE)
    assert says in cpc.err


def test_without_matplotlib_it_says_how_to_get_it(
    cpc: Cpc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "matplotlib" else real(name, *rest)
    )
    path = chip_file(tmp_path, 12)
    cpc("puf", "assess", path, "--plot", tmp_path / "one.png", exit_code=EXIT_USAGE)
    assert "pip install 'cpchain-edge[plot]'" in cpc.err
    assert "PASS" in cpc("puf", "assess", path)


def test_the_help_shows_examples(capsys: pytest.CaptureFixture[str], cpc: Cpc) -> None:
    with pytest.raises(SystemExit) as left:
        cpc("puf", "assess", "--help")
    assert left.value.code == 0
    assert "cpc puf assess chip_28x4096.bin" in capsys.readouterr().out
