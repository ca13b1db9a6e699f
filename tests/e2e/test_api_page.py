"""The API's browsable page works under the strict content security policy."""

from playwright.sync_api import Page, expect


def test_the_page_lists_the_operations_and_opens_one(demo: str, page: Page) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    elsewhere: list[str] = []
    page.on(
        "request",
        lambda sent: elsewhere.append(sent.url) if not sent.url.startswith((demo, "data:")) else None,
    )

    page.goto(f"{demo}/api/v1/docs/")

    expect(page.get_by_role("heading", name="Headgate")).to_be_visible()
    operation = page.locator("#operations-merging-merge_change_request")
    expect(operation).to_be_visible()
    operation.locator(".opblock-summary-control").click()
    expect(operation.get_by_text("Asking again answers the same run")).to_be_visible()
    assert complaints == []
    assert elsewhere == []
