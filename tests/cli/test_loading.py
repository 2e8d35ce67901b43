"""`-A module:attribute`: what is found, and one precise message for each way to get it wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamcluster.config.loading import AppNotImportable, load_app
from streamcluster.errors import AppError, ExitCode

WriteModule = Callable[[str, str], None]
APP = "import streamcluster\n"


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteModule]:
    """Writes modules into the current directory, and forgets them after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")

    yield write
    for name in set(sys.modules) - before:
        if not name.startswith("streamcluster"):
            del sys.modules[name]


def test_the_attribute_is_found_in_the_current_directory(write_module: WriteModule) -> None:
    """The current directory need not be on the Python path."""
    write_module("shop_a", APP + "shop = streamcluster.App('shop')")

    assert load_app("shop_a:shop").conf.id == "shop"


def test_a_module_alone_means_its_only_app(write_module: WriteModule) -> None:
    """`-A shop` is enough when there is no doubt."""
    write_module("shop_b", APP + "shop = streamcluster.App('shop')")

    assert load_app("shop_b").conf.id == "shop"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("absent_module:app", "there is no module 'absent_module'"),
        ("absent.inner:app", "there is no module 'absent'"),
        ("shop_c:ap", "Did you mean -A shop_c:app?"),
        ("shop_c:zzz", "Its Apps: app."),
        ("shop_c:number", "is a int, not a streamcluster.App"),
        ("shop_c.py:app", "name the module, not the file, for example -A shop_c:app"),
        (":app", "write it as module:attribute"),
        ("shop_c:", "write it as module:attribute"),
    ],
)
def test_a_wrong_reference_says_what_is_wrong(write_module: WriteModule, reference: str, message: str) -> None:
    """Each mistake has its own message, and they are configuration errors."""
    write_module("shop_c", APP + "app = streamcluster.App('shop')\nnumber = 3")

    with pytest.raises(AppError) as caught:
        load_app(reference)

    assert message in str(caught.value)
    assert caught.value.exit_code == ExitCode.CONFIGURATION


def test_an_app_that_raises_shows_the_users_frames_only(write_module: WriteModule) -> None:
    """The traceback begins in the user's file; the message names the line."""
    write_module("shop_d", "def broken():\n    return 1 / 0\n\n\nbroken()\n")

    with pytest.raises(AppNotImportable) as caught:
        load_app("shop_d:app")

    assert "ZeroDivisionError: division by zero" in str(caught.value)
    assert "shop_d.py, line 2" in str(caught.value)
    assert "importlib" not in caught.value.traceback
    assert "loading.py" not in caught.value.traceback
    assert "return 1 / 0" in caught.value.traceback


def test_a_missing_dependency_of_the_app_is_not_taken_for_a_missing_app(write_module: WriteModule) -> None:
    """`import absent` inside the app names the absent module, with the traceback."""
    write_module("shop_e", "import absent_dependency")

    with pytest.raises(AppNotImportable, match="No module named 'absent_dependency'"):
        load_app("shop_e:app")


def test_a_wrong_setting_in_the_code_is_said_with_its_place(write_module: WriteModule) -> None:
    """A typo in App(...) gives the did-you-mean, and the traceback says where the App is."""
    write_module("shop_f", APP + "app = streamcluster.App('shop', brokr='kafka://')")

    with pytest.raises(AppNotImportable, match="Did you mean 'broker'") as caught:
        load_app("shop_f:app")

    assert "shop_f.py" in caught.value.traceback
