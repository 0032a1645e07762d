"""Where a template's line may be broken without a space on the page."""

import re

import jinja2
import pytest

from inventory_service.web.templating import LineBreaks


@pytest.mark.parametrize(
    ("template", "page"),
    [
        ("<ul>\n  <li>a</li>\n  <li>b</li>\n</ul>\n", "<ul><li>a</li><li>b</li></ul>"),
        ("<b>a</b>\n{% if yes %}\n  <b>b</b>\n{% endif %}\n<b>c</b>", "<b>a</b><b>b</b><b>c</b>"),
        ("<b>a</b> <b>b</b>", "<b>a</b> <b>b</b>"),
        ("<b>a</b>{% if yes %} <b>b</b>{% endif %}", "<b>a</b> <b>b</b>"),
        ('<b>a</b>\n{{ " " }}\n<b>b</b>', "<b>a</b> <b>b</b>"),
        ("two\n  words <b>and</b>\n  more", "two words <b>and</b> more"),
        ("{{ word }}\n<b>b</b>", "word <b>b</b>"),
        ("<b>b</b>\n{{ word }}", "<b>b</b> word"),
        ("{% if yes %}\n  {{ word }}\n{% endif %}\n", " word "),
        ("{% for one in (1, 2) %}{{ one }}\n{% endfor %}", "1 2 "),
        ("<b>a</b>\n{# a remark #}\n<b>b</b>", "<b>a</b><b>b</b>"),
    ],
)
def test_it_drops_a_line_break_between_tags_and_keeps_one_beside_words(template, page):
    environment = jinja2.Environment(extensions=[LineBreaks], autoescape=False)
    rendered = environment.from_string(template).render(yes=True, word="word")
    assert re.sub(r"\s+", " ", rendered) == page


def test_it_leaves_the_line_breaks_of_a_value():
    environment = jinja2.Environment(extensions=[LineBreaks], autoescape=False)
    rendered = environment.from_string("<pre>{{ lines }}</pre>").render(lines="<b>\n<b>")
    assert rendered == "<pre><b>\n<b></pre>"


def test_an_error_keeps_its_line():
    environment = jinja2.Environment(extensions=[LineBreaks], autoescape=True)
    with pytest.raises(jinja2.TemplateSyntaxError) as caught:
        environment.from_string("<ul>\n  <li></li>\n</ul>\n{% nonsense %}\n")
    assert caught.value.lineno == 4
