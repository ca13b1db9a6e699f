"""The grammar of Spark's expressions, as far as rules of tables are read: text to a tree, and nothing else.

Follows SqlBaseLexer.g4 and SqlBaseParser.g4 of Apache Spark, whose precedence is its own (`a = b IS NULL` asks
whether the comparison is NULL, `||` binds like `+`). Whatever Spark reads in one way in one version or setting and
otherwise in another (quotes doubled within texts, texts side by side, unknown escapes) is no part of this grammar.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from merging.delta.expressions.nodes import (
    Call,
    Case,
    Cast,
    Name,
    Node,
    NotUnderstood,
    Number,
    Text,
    TypedText,
    Word,
)

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<quoted>`(?:[^`]|``)+`)
  | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
  | (?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?(?:BD|bd|Bd|bD|[LlSsYyDdFf])?(?![A-Za-z0-9_]))
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<sign><=>|<>|!=|==|<=|>=|\|\||::|[-+*/%<>=!(),.\[\]&|^~:?])
    )""",
    re.VERBOSE | re.DOTALL,
)

_COMMENT = re.compile(r"--|/\*")
_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t", "%": "\\%", "_": "\\_"}

_RESERVED = frozenset(
    {
        *(
            "and",
            "or",
            "not",
            "in",
            "between",
            "like",
            "ilike",
            "rlike",
            "regexp",
            "is",
            "escape",
            "distinct",
        ),
        *("null", "true", "false", "case", "when", "then", "else", "end", "cast", "try_cast", "div"),
        *("from", "interval", "exists", "select", "any", "some", "all"),
    }
)

_COMPARISONS = frozenset({"=", "==", "<>", "!=", "<", "<=", ">", ">=", "<=>"})
_DEEPEST = 60


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str


def parse(expression: str) -> Node:
    """The tree of an expression. Raises NotUnderstood, naming what is not read."""
    return _Parser(_tokens(expression)).whole()


def _tokens(expression: str) -> list[_Token]:
    found: list[_Token] = []
    end = len(expression.rstrip())
    position = 0
    while position < end:
        match = _TOKEN.match(expression, position)
        if match is None or match.lastgroup is None:
            raise NotUnderstood(f"the sign {expression[position:].lstrip()[:1]!r}")
        kind, text = match.lastgroup, match[match.lastgroup]
        if kind == "sign" and _COMMENT.match(expression, match.start(kind)):
            raise NotUnderstood("a comment")
        found.append(_Token(kind, text))
        position = match.end()
    return found


def _unescaped(quoted: str) -> str:
    """The content of a quoted text. `\\%` and `\\_` stay as they are, as in Spark: they are for LIKE."""

    def resolved(escape: re.Match[str]) -> str:
        known = _ESCAPES.get(escape[1])
        if known is None:
            raise NotUnderstood(f"the escape {escape[0]} in a text")
        return known

    return re.sub(r"\\(.)", resolved, quoted[1:-1], flags=re.DOTALL)


class _Parser:
    """Recursive descent; each method reads one level of precedence, loosest first."""

    def __init__(self, tokens: Sequence[_Token]) -> None:
        self.tokens = tokens
        self.position = 0
        self.depth = 0
        self.cases = 0

    def whole(self) -> Node:
        node = self.boolean()
        if self.position < len(self.tokens):
            raise NotUnderstood(f"{self.tokens[self.position].text!r} where the expression should end")
        return node

    # tokens

    def peek(self, ahead: int = 0) -> _Token:
        place = self.position + ahead
        return self.tokens[place] if place < len(self.tokens) else _Token("end", "")

    def is_word(self, *words: str, ahead: int = 0) -> bool:
        token = self.peek(ahead)
        return token.kind == "word" and token.text.lower() in words

    def is_sign(self, *signs: str, ahead: int = 0) -> bool:
        token = self.peek(ahead)
        return token.kind == "sign" and token.text in signs

    def take(self) -> _Token:
        token = self.peek()
        self.position += 1
        return token

    def expect(self, wanted: str) -> None:
        token = self.take()
        if token.kind not in ("sign", "word") or token.text.lower() != wanted:
            raise NotUnderstood(f"{token.text or 'the end'!r} where {wanted.upper()} should be")

    # levels

    def boolean(self) -> Node:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise NotUnderstood("an expression nested too deeply")
        node = self.conjunction()
        while self.is_word("or"):
            self.take()
            node = Call("or", (node, self.conjunction()))
        self.depth -= 1
        return node

    def conjunction(self) -> Node:
        node = self.negation()
        while self.is_word("and"):
            self.take()
            node = Call("and", (node, self.negation()))
        return node

    def negation(self) -> Node:
        if self.is_word("not") or self.is_sign("!"):
            self.take()
            self.depth += 1
            if self.depth > _DEEPEST:
                raise NotUnderstood("an expression nested too deeply")
            node = Call("not", (self.negation(),))
            self.depth -= 1
            return node
        return self.predicate()

    def predicate(self) -> Node:
        node = self.comparison()
        negated = self.is_word("not") and self.is_word("between", "in", "like", ahead=1)
        if negated:
            self.take()
        found = self.range_predicate(node)
        if found is not None:
            return Call("not", (found,)) if negated else found
        if self.is_word("is"):
            return self.is_predicate(node)
        return node

    def range_predicate(self, node: Node) -> Node | None:
        if self.is_word("between"):
            self.take()
            low = self.comparison()
            self.expect("and")
            return Call("between", (node, low, self.comparison()))
        if self.is_word("in"):
            self.take()
            self.expect("(")
            return Call("in", (node, *self.arguments()))
        if self.is_word("like"):
            self.take()
            pattern = self.comparison()
            escape: Node = Text("\\")
            if self.is_word("escape"):
                self.take()
                token = self.take()
                if token.kind != "text":
                    raise NotUnderstood("ESCAPE without a text")
                escape = Text(_unescaped(token.text))
            return Call("like", (node, pattern, escape))
        return None

    def is_predicate(self, node: Node) -> Node:
        self.take()
        negated = self.is_word("not")
        if negated:
            self.take()
        if self.is_word("null", "true", "false"):
            found: Node = Call(f"is {self.take().text.lower()}", (node,))
        elif self.is_word("distinct"):
            self.take()
            self.expect("from")
            found = Call("not", (Call("<=>", (node, self.comparison())),))
        else:
            raise NotUnderstood(f"IS {self.peek().text}")
        return Call("not", (found,)) if negated else found

    def comparison(self) -> Node:
        node = self.additive()
        while self.peek().kind == "sign" and self.peek().text in _COMPARISONS:
            sign = {"==": "=", "!=": "<>"}.get(self.peek().text, self.peek().text)
            self.take()
            node = Call(sign, (node, self.additive()))
        return node

    def additive(self) -> Node:
        node = self.multiplicative()
        while self.is_sign("+", "-", "||"):
            sign = self.take().text
            node = Call(sign, (node, self.multiplicative()))
        return node

    def multiplicative(self) -> Node:
        node = self.unary()
        while self.is_sign("*", "/", "%") or self.is_word("div"):
            sign = self.take().text.lower()
            node = Call(sign, (node, self.unary()))
        return node

    def unary(self) -> Node:
        if self.is_sign("-", "+"):
            sign = self.take().text
            if self.peek().kind == "number":
                number = self.number(self.take().text)
                return Number(f"{sign.strip('+')}{number.digits}", number.suffix)
            if self.is_sign("-", "+"):
                raise NotUnderstood("two signs in a row")
            operand = self.primary()
            return Call("negative", (operand,)) if sign == "-" else operand
        return self.primary()

    def primary(self) -> Node:
        token = self.take()
        if token.kind == "text":
            return Text(_unescaped(token.text))
        if token.kind == "number":
            return self.number(token.text)
        if token.kind == "sign" and token.text == "(":
            node = self.boolean()
            self.expect(")")
            return node
        if token.kind == "quoted":
            return self.name(token)
        if token.kind != "word":
            raise NotUnderstood(f"{token.text or 'the end'!r} where a value should be")
        return self.worded(token)

    def worded(self, token: _Token) -> Node:
        word = token.text.lower()
        if word in ("null", "true", "false"):
            return Word(word)
        if word == "case":
            self.cases += 1
            found = self.case()
            self.cases -= 1
            return found
        if word == "cast":
            return self.cast()
        if self.is_sign("("):
            self.take()
            return Call(word, () if self.closes() else self.arguments())
        if self.peek().kind == "text":
            return TypedText(word, _unescaped(self.take().text))
        # Columns are often called so, and outside of CASE it is a word like others.
        if word in _RESERVED and not (word == "end" and not self.cases):
            raise NotUnderstood(f"{token.text.upper()} in this place")
        return self.name(token)

    def closes(self) -> bool:
        if self.is_sign(")"):
            self.take()
            return True
        return False

    def arguments(self) -> tuple[Node, ...]:
        if self.is_word("distinct", "select", "all"):
            raise NotUnderstood(f"{self.peek().text.upper()} in this place")
        found = [self.boolean()]
        while self.is_sign(","):
            self.take()
            found.append(self.boolean())
        self.expect(")")
        return tuple(found)

    def name(self, token: _Token) -> Name:
        parts = [self.part(token)]
        while self.is_sign("."):
            self.take()
            following = self.take()
            if following.kind not in ("word", "quoted"):
                raise NotUnderstood(f"{following.text or 'the end'!r} where a field's name should be")
            parts.append(self.part(following))
        if self.is_sign("[", "(", ":", "::"):
            raise NotUnderstood(f"{self.peek().text} after {'.'.join(parts)}")
        return Name(tuple(parts))

    def part(self, token: _Token) -> str:
        return token.text[1:-1].replace("``", "`") if token.kind == "quoted" else token.text

    def number(self, text: str) -> Number:
        suffix = re.search(r"(?:BD|[LSYDF])$", text, re.IGNORECASE)
        digits = text[: suffix.start()] if suffix else text
        return Number(digits, suffix[0].upper() if suffix else "")

    def case(self) -> Node:
        operand = None if self.is_word("when") else self.boolean()
        branches = []
        while self.is_word("when"):
            self.take()
            condition = self.boolean()
            self.expect("then")
            branches.append((condition, self.boolean()))
        otherwise = None
        if self.is_word("else"):
            self.take()
            otherwise = self.boolean()
        self.expect("end")
        if not branches:
            raise NotUnderstood("CASE without WHEN")
        return Case(operand, tuple(branches), otherwise)

    def cast(self) -> Node:
        self.expect("(")
        operand = self.boolean()
        self.expect("as")
        token = self.take()
        if token.kind != "word":
            raise NotUnderstood(f"CAST to {token.text}")
        parameters: list[int] = []
        if self.is_sign("("):
            self.take()
            while True:
                number = self.take()
                if number.kind != "number" or not number.text.isdigit():
                    raise NotUnderstood(f"CAST to {token.text}({number.text}")
                parameters.append(int(number.text))
                if not self.is_sign(","):
                    break
                self.take()
            self.expect(")")
        self.expect(")")
        return Cast(operand, token.text.lower(), tuple(parameters))
