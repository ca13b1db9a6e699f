"""Signing in through a provider, in the browser: the button, the provider's page, back, and out at both."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from config.env import BASE_DIR
from tests import services
from tests.migrated import begin_migrated
from tests.provider import LyingProvider, lying_provider


@pytest.fixture
def provider() -> Iterator[LyingProvider]:
    with lying_provider() as running:
        yield running


@pytest.fixture
def headgate(provider: LyingProvider, tmp_path: Path) -> Iterator[str]:
    """A web process without data, in which people sign in through the provider alone."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings.dev",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'headgate.sqlite3'}",
        "CELERY_BROKER_URL": "memory://",
        "DELTA_DATA_ROOT": str(tmp_path / "delta"),
        "OIDC_ISSUER": provider.address,
        "OIDC_CLIENT_ID": "headgate",
        "OIDC_CLIENT_SECRET": "only for the tests",
        "OIDC_NAME": "Example ID",
        "OIDC_OPERATORS": "platform",
        "PASSWORD_SIGN_IN": "false",
    }
    if not begin_migrated(tmp_path / "headgate.sqlite3"):
        command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(command, cwd=BASE_DIR, env=environment, check=True)
    with services.web_process(environment, tmp_path / "web.log") as address:
        yield address.replace("127.0.0.1", "localhost")


def test_somebody_signs_in_through_the_provider_and_out_of_both(
    browser: Browser, headgate: str, provider: LyingProvider
) -> None:
    provider.knows("ada-1", preferred_username="ada", name="Ada Byron", groups=["platform", "stewards"])
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()

    page.goto(f"{headgate}/service-accounts/")  # leads to the sign-in page, and back here at the end
    expect(page.get_by_label("Password")).to_have_count(0)
    page.get_by_role("link", name="Sign in with Example ID").click()
    page.get_by_placeholder("sub").fill("ada-1")
    page.get_by_role("button", name="Authorize").click()

    expect(page.get_by_role("heading", name="Service accounts", exact=True)).to_be_visible()
    expect(page.get_by_text("Welcome, Ada Byron.")).to_be_visible()
    page.get_by_label("Name", exact=True).fill("nightly-load")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("heading", name="nightly-load@service")).to_be_visible()
    page.get_by_label("Name", exact=True).fill("load")
    page.get_by_role("button", name="Make the token").click()
    expect(page.locator("#new-token")).not_to_be_empty()

    page.goto(f"{headgate}/account/")
    expect(page.get_by_text("You sign in with Example ID.")).to_be_visible()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url(f"{provider.address}/oauth2/end_session**")
    page.get_by_role("button", name="End session").click()
    expect(page.get_by_role("link", name="Sign in with Example ID")).to_be_visible()
    page.goto(f"{headgate}/account/")
    expect(page.get_by_role("heading", name="Sign in to Headgate")).to_be_visible()
    page.context.close()
