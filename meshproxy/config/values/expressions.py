"""CEL expressions of the configuration: texts, syntax trees, and `CelExpressionConfig`."""

from __future__ import annotations

from meshproxy.cel.expression import ExpressionError, Options, Surroundings, compile_predicate, parse
from meshproxy.cel.messages import read_expression
from meshproxy.model.listener import LogPredicate
from meshproxy.plugin.view import ConfigView

# What policies and matchers look at the stream with: Envoy doesn't show them the node.
_NO_NODE = Surroundings(node=None)


def compile_options(view: ConfigView | None) -> Options:
    """`core.v3.CelExpressionConfig`; None for the defaults."""
    if view is None:
        return Options()
    return Options(
        view.boolean("enable_string_conversion"),
        view.boolean("enable_string_concat"),
        view.boolean("enable_string_functions"),
    )


def compile_text_expression(
    view: ConfigView, field: str, options: ConfigView | None, surroundings: Surroundings
) -> LogPredicate:
    """An expression that stands in `field` as text: whether it is true for a stream. Raises ConfigError."""
    try:
        return compile_predicate(parse(view.text(field)), surroundings, compile_options(options))
    except ExpressionError as error:
        view.fail(str(error), field)


def compile_tree_expression(view: ConfigView, options: ConfigView | None) -> LogPredicate:
    """The same for a message: `google.api.expr.v1alpha1.Expr` or `cel.expr.Expr`. Raises ConfigError."""
    try:
        return compile_predicate(read_expression(view.raw()), _NO_NODE, compile_options(options))
    except ExpressionError as error:
        view.fail(str(error))


def compile_cel_expression(view: ConfigView) -> LogPredicate:
    """`xds.type.v3.CelExpression` of a matcher: a tree, the checked one first. Raises ConfigError."""
    for name in ("cel_expr_checked", "cel_expr_parsed", "checked_expr", "parsed_expr"):
        part = view.view(name)
        if part is not None:
            return compile_tree_expression(part.required("expr"), None)
    view.fail("an expression in its parsed or checked form is required")
