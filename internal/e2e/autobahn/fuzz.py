"""Runs the fuzzing client of the Autobahn|Testsuite on the cases of a spec.

    python2.7 fuzz.py PACKAGES SPEC

Without a spec it only looks whether all is there.
"""
import json
import site
import sys
import types
import unittest

site.addsitedir(sys.argv[1])  # PYTHONPATH would not do for zope, a namespace package

# The suite imports all its parts at once. What those for TLS and WAMP need of
# others is not installed: nobody runs them here.
import twisted.internet
twisted.internet.ssl = sys.modules["twisted.internet.ssl"] = types.ModuleType("ssl")
sys.modules["unittest2"] = unittest

from autobahntestsuite.fuzzing import FuzzingClientFactory
from twisted.internet import reactor

if len(sys.argv) > 2:
    with open(sys.argv[2]) as spec:
        client = FuzzingClientFactory(json.load(spec))  # connects by itself, and stops the reactor
    reactor.run()
