"""The scripts that the hooks of .pre-commit-config.yaml run."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
import yaml

import large_files
import repository
import run_hooks
import secret_scan


# Put together here, so that nothing shaped like a key stands in the repository.
KEYS = {
    "OpenAI or Anthropic key": "sk-" + "a1B2" * 8,
    "Google API key": "AIza" + "b" * 35,
    "AWS access key": "AKIA" + "A1B2" * 4,
    "GitHub token": "ghp_" + "c" * 36,
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
}


@pytest.mark.parametrize("name", KEYS)
def test_secret_scan_finds_keys(name, tmp_path, capsys):
    """Text shaped like a key is reported with its file and line, but not repeated."""
    bad = tmp_path / "bad.txt"
    bad.write_text(f"first line\nkey = {KEYS[name]}\n", encoding="utf-8")

    assert secret_scan.main([str(bad)]) == 1

    assert capsys.readouterr().out == f"{bad}:2: {name}\n"


def test_secret_scan_leaves_prose_alone(tmp_path, capsys):
    """Words that only begin like a key are no findings."""
    good = tmp_path / "good.txt"
    good.write_text("ask-me-anything, task-based-scheduling-of-work, sk-...", encoding="utf-8")

    assert secret_scan.main([str(good)]) == 0
    assert capsys.readouterr().out == ""


def test_repository_holds_no_secrets():
    """The scan that the hook does passes, also where the hooks are not installed."""
    assert secret_scan.main([str(path) for path in repository.files()]) == 0


def test_large_files_are_refused(tmp_path, capsys):
    """A file over the limit is reported, one at the limit passes."""
    large = tmp_path / "large.bin"
    large.write_bytes(b"x" * (large_files.LIMIT + 1))

    assert large_files.main([str(large)]) == 1
    assert str(large) in capsys.readouterr().out

    large.write_bytes(b"x" * large_files.LIMIT)

    assert large_files.main([str(large)]) == 0


def test_repository_holds_no_large_files():
    """The check that the hook does passes, also where the hooks are not installed."""
    assert large_files.main([str(path) for path in repository.files()]) == 0


def test_files_of_a_checkout_are_those_git_knows(tmp_path):
    """In a checkout, what git ignores does not count, and what is tracked does in spite of that."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    for name in ("tracked.txt", "new.md", "made.txt"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    (tmp_path / ".gitignore").write_text("*.txt\n", encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)

    assert not repository.is_checkout(tmp_path)

    subprocess.run(["git", "add", "--force", "tracked.txt"], cwd=tmp_path, check=True)

    assert repository.is_checkout(tmp_path)
    assert sorted(path.name for path in repository.files(tmp_path)) == [
        ".gitignore",
        "new.md",
        "tracked.txt",
    ]


def test_files_of_an_archive_are_those_not_ignored(tmp_path):
    """Without git, everything belongs to the repository but what .gitignore names."""
    (tmp_path / ".gitignore").write_text("# made by tools\nbuild/\n*.py[co]\n", encoding="utf-8")
    for folder in ("build", "src"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "module.py").write_text("", encoding="utf-8")
        (tmp_path / folder / "module.pyc").write_text("", encoding="utf-8")

    assert repository.files(tmp_path) == [
        tmp_path / ".gitignore",
        tmp_path / "src" / "module.py",
    ]


def test_hooks_are_local():
    """Hooks are what the repository and its requirements hold: nothing is downloaded for them."""
    text = (repository.ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    repos = yaml.safe_load(text)["repos"]
    hooks = [hook for repo in repos for hook in repo["hooks"]]

    assert {repo["repo"] for repo in repos} == {"local"}
    assert {hook["language"] for hook in hooks} == {"system"}
    assert {hook["id"] for hook in hooks} >= {
        "ruff",
        "ruff-format",
        "mypy",
        "secrets",
        "large-files",
    }


def test_hooks_run_without_pre_commit(tmp_path, capfd):
    """Where there is no git, a hook gets the files it is for, and its exit code counts."""
    (tmp_path / ".gitignore").write_text("", encoding="utf-8")
    (tmp_path / "module.py").write_text("", encoding="utf-8")
    (tmp_path / "image.bin").write_bytes(b"\0")
    show = "import sys; print(*sys.argv[1:]); raise SystemExit(len(sys.argv) - 1)"
    hook = {"name": "show", "entry": f'python -c "{show}"'}

    def run(**options):
        return run_hooks.run_hook({**hook, **options}, tmp_path), capfd.readouterr().out

    assert run(types_or=["python"]) == (1, "show ...\nmodule.py\n")
    assert run(types=["text"]) == (2, "show ...\n.gitignore module.py\n")
    assert run() == (3, "show ...\n.gitignore image.bin module.py\n")
    assert run(pass_filenames=False) == (0, "show ...\n\n")


@pytest.mark.parametrize("tool", [secret_scan, large_files])
def test_tools_are_scripts(tool, tmp_path):
    """The hooks start them by path, with file names as arguments."""
    fine = tmp_path / "fine.txt"
    fine.write_text("fine", encoding="utf-8")

    done = subprocess.run([sys.executable, tool.__file__, str(fine)], check=False)

    assert done.returncode == 0


def test_virtual_environments_are_left_out(tmp_path):
    """What somebody has installed beside the files is none of them."""
    (tmp_path / ".gitignore").write_text("__pycache__/\n", encoding="utf-8")
    library = tmp_path / "mine" / "lib"
    library.mkdir(parents=True)
    (tmp_path / "mine" / "pyvenv.cfg").write_text("", encoding="utf-8")
    (library / "module.py").write_text("", encoding="utf-8")
    (tmp_path / "kept.py").write_text("", encoding="utf-8")

    assert [path.name for path in repository.files(tmp_path)] == [".gitignore", "kept.py"]
