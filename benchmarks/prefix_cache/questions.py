"""Questions over Python's language reference: several about each document, as a reader asks them.

They were written with the topics at hand, before anything was measured.
"""

from __future__ import annotations

QUESTIONS: dict[str, tuple[str, ...]] = {
    "with": (
        "What does the with statement call when the block ends with an exception?",
        "How is a with statement with several items evaluated?",
        "When is the exception of the suite suppressed by __exit__?",
        "Can the items of a with statement be put in parentheses?",
        "What happens when __enter__ returns a value and there is a target?",
    ),
    "async": (
        "How is a coroutine function written?",
        "Where may await expressions be used?",
        "What does async for call on the iterator at each step?",
        "How does async with differ from with?",
        "Is it an error to use yield from inside a coroutine function?",
    ),
    "import": (
        "What are the steps of the basic import statement?",
        "How does from import bind names?",
        "What does an import of * bring in when __all__ is not defined?",
        "How are leading dots in a relative import read?",
        "What is a future statement for?",
    ),
    "try": (
        "In which order are except clauses searched for a handler?",
        "When does the else clause of a try statement run?",
        "What happens to a saved exception when finally executes a return?",
        "How does except* handle an exception group?",
        "Why is the target name of an except clause cleared at its end?",
    ),
    "function": (
        "When are default parameter values of a function evaluated?",
        "What may follow a bare * in a parameter list?",
        "How are decorators applied to a function?",
        "Where are the annotations of parameters stored?",
        "What does a parameter of the form **identifier receive?",
    ),
    "assignment": (
        "How is an assignment to a target list with a starred target done?",
        "What happens in an assignment to a slicing?",
        "In which order are the sides of an assignment evaluated?",
        "How does augmented assignment differ from normal assignment?",
        "What does an annotated assignment without a value do?",
    ),
    "comparisons": (
        "Can comparisons be chained, and how often is each operand evaluated?",
        "How are sequences of the same type compared?",
        "What do the operators in and not in test?",
        "Why do two identical NaN values compare unequal?",
        "What does the is operator compare?",
    ),
    "execmodel": (
        "What is a block in the execution model?",
        "Which constructs bind names?",
        "How is a name resolved in nested scopes?",
        "When is UnboundLocalError raised?",
        "Are names of a class block visible in its methods?",
    ),
}
