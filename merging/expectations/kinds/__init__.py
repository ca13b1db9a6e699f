"""Expectations by family, each as one whole entry: arguments, judge, sentence, proposal.

A new expectation is one entry in the ``ENTRIES`` of the module of its family; a new family is a module that
``catalogue`` names.
"""
