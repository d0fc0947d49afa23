"""Finding sums in a text and working them out exactly."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction


_WORDS = (
    (re.compile(r"\s{1,9}(?:times|multiplied by)\s{1,9}", re.IGNORECASE), " * "),
    (re.compile(r"\s{1,9}(?:divided by|over)\s{1,9}", re.IGNORECASE), " / "),
    (re.compile(r"\s{1,9}plus\s{1,9}", re.IGNORECASE), " + "),
    (re.compile(r"\s{1,9}minus\s{1,9}", re.IGNORECASE), " - "),
    (re.compile(r"\u00d7"), "*"),
    (re.compile(r"\u00f7"), " / "),
)
_NUMBER = r"\({0,9}-?\d{1,30}(?:\.\d{1,30})?\){0,9}"
_SUM = re.compile(rf"(?<![\w.]){_NUMBER}(?:\s{{0,9}}[-+*/]\s{{0,9}}{_NUMBER}){{1,30}}(?![\w/])")
# Dates, telephone numbers and the likes of 24/7 are no sums; `7 / 2` with spaces is one.
_NO_SUM = re.compile(r"\d+(?:[-/]\d+)+")
_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def expressions(text: str) -> list[str]:
    """Return the sums in a text, in order and in normal form (`17 * 23`)."""
    for words, symbol in _WORDS:
        text = words.sub(symbol, text)
    found = [" ".join(sum_.split()) for sum_ in _SUM.findall(text) if not _NO_SUM.fullmatch(sum_)]
    return [expression for expression in found if _parse(expression) is not None]


def evaluate(expression: str) -> str | None:
    """Work out a sum; None when it is none, or divides by zero."""
    tree = _parse(expression)
    if tree is None:
        return None
    try:
        return _written(_value(tree))
    except (ArithmeticError, ValueError):
        return None


def _parse(expression: str) -> ast.expr | None:
    try:
        return ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError):
        return None


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as value):
            return Fraction(str(value))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            return _OPERATORS[type(sign)](_value(left), _value(right))
    message = "not a sum"
    raise ValueError(message)


def _written(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.10g}"
