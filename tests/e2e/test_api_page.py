"""The API's browsable page works under the strict content security policy."""

from playwright.sync_api import Browser, expect

from tests.e2e.conftest import Person


def test_the_page_lists_the_operations_and_opens_one(browser: Browser, demo: str) -> None:
    visitor = Person(browser.new_context(), demo)
    elsewhere: list[str] = []
    visitor.page.on(
        "request",
        lambda sent: None if sent.url.startswith((demo, "data:")) else elsewhere.append(sent.url),
    )

    visitor.go("/api/v1/docs/")

    operation = visitor.page.locator("#operations-merging-merge_change_request")
    visitor.page.locator("#operations-tag-merging").click()
    expect(operation).to_be_visible()
    operation.locator(".opblock-summary-control").click()
    expect(operation.get_by_text("Asking again answers the same run")).to_be_visible()
    visitor.context.close()
    assert visitor.complaints == []
    assert elsewhere == []
