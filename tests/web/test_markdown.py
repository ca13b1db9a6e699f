"""What people write: Markdown as it is read, and nothing of it that could harm."""

import re
from html.parser import HTMLParser

import pytest

from web.markdown import LONGEST, Named, people_named, rendered, requests_named

NAMED = Named({"CR-12": "Correct two planes"}, {"olivia": "Olivia Okafor"})
#: What a text may become.
TAGS = {
    *("p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a", "div"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}


class Parts(HTMLParser):
    """The tags, attributes and addresses of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value or "" for name, value in attrs if name == "href"]


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg/onload=alert(1)>",
        "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
        "<a href='javascript:alert(1)' onclick='alert(1)'>x</a>",
        "<style>*{display:none}</style>",
        "<form action=https://evil.example><input name=password></form>",
        "<base href=https://evil.example/>",
        "<meta http-equiv=refresh content='0;url=https://evil.example'>",
        "<math><mi//xlink:href='data:x,<script>alert(1)</script>'>",
        "<p hx-get='/account/' hx-trigger='load' data-live='strip' id='merge-box'>x</p>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](java&#115;cript:alert(1))",
        "[x](java\nscript:alert(1))",
        "[x](<javascript:alert(1)>)",
        "[x]( javascript:alert(1))",
        "[x](\x01javascript:alert(1))",
        "[x](vbscript:msgbox(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](file:///etc/passwd)",
        '[x](https://a.example "t\\" onmouseover=alert(1) ")',
        "![x](https://evil.example/pixel.png)",
        "![x](data:image/svg+xml;base64,PHN2Zz4=)",
        "<javascript:alert(1)>",
        "[x]: javascript:alert(1)\n\n[x]",
        '```"><script>alert(1)</script>\nx\n```',
        "`<script>alert(1)</script>`",
        "| <script>alert(1)</script> | b |\n|-|-|\n| <img src=x onerror=alert(1)> | c |",
        "# <b onclick=alert(1)>x</b>",
        'https://a.example/"onmouseover=alert(1)',
        "https://a.example/<script>alert(1)</script>",
        "CR-12<script>alert(1)</script>",
        "@olivia<img src=x onerror=alert(1)>",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "<!--<script>alert(1)</script>-->",
        "<![CDATA[<script>alert(1)</script>]]>",
        "\u0000<script>alert(1)</script>",
        "<scr<script>ipt>alert(1)</script>",
        "<a href=https://a.example target=_blank style='position:fixed;inset:0'>x</a>",
    ],
)
def test_nothing_hostile_is_left(hostile: str) -> None:
    found = Parts(rendered(hostile, NAMED))
    assert found.tags <= TAGS
    assert found.attributes <= {"href", "title", "rel", "class"}
    for address in found.addresses:
        assert re.match(r"(https?|mailto):|/", address), address


def test_html_is_shown_as_text() -> None:
    assert rendered("<b>bold</b> & <script>x</script>") == (
        "<p>&lt;b&gt;bold&lt;/b&gt; &amp; &lt;script&gt;x&lt;/script&gt;</p>\n"
    )


def test_pictures_are_links_and_links_are_marked() -> None:
    assert 'rel="nofollow noopener"' in rendered("[x](https://a.example)")
    assert rendered("![x](https://a.example/x.png)") == (
        '<p>!<a href="https://a.example/x.png" rel="nofollow noopener">x</a></p>\n'
    )


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("# Title", '<p class="prose__heading">Title</p>'),
        ("a\nb", "<p>a<br>\nb</p>"),
        ("**b** _e_ ~~s~~ `c`", "<p><strong>b</strong> <em>e</em> <s>s</s> <code>c</code></p>"),
        ("3. c", '<ol start="3">\n<li>c</li>\n</ol>'),
        ("> q", "<blockquote>\n<p>q</p>\n</blockquote>"),
        ("|a|\n|-|\n|1|", '<div class="prose__table"><table>'),
        ("", ""),
    ],
)
def test_markdown_is_read(written: str, read: str) -> None:
    assert rendered(written).startswith(read)


@pytest.mark.parametrize(
    ("written", "links"),
    [
        ("see CR-12, CR-12.", ["/change-requests/CR-12/"] * 2),
        ("see CR-13", []),  # not there, or not for this reader
        ("XCR-12 CR-12x CR-12-3 /CR-12", []),
        ("`CR-12` and\n\n    CR-12", []),
        ("[CR-12](https://a.example)", ["https://a.example"]),
        ("@olivia, @olivia. mail@olivia @nobody", ["/?q=olivia", "/?q=olivia"]),
        ("https://a.example/b?c=d#e.", ["https://a.example/b?c=d#e"]),
        ("https://a.example/CR-12/@olivia", ["https://a.example/CR-12/@olivia"]),
        ("CR-012", ["/change-requests/CR-12/"]),
    ],
)
def test_what_the_reader_may_see_is_a_link(written: str, links: list[str]) -> None:
    assert Parts(rendered(written, NAMED)).addresses == links


def test_what_texts_name_is_bounded() -> None:
    texts = [" ".join(f"CR-{number} @p{number}" for number in range(1000))]
    assert (len(requests_named(texts)), len(people_named(texts))) == (100, 50)


def test_long_texts_are_shown_as_they_were_written() -> None:
    assert rendered("*" * (LONGEST + 1)) == f'<p class="prose__long">{"*" * (LONGEST + 1)}</p>'
