// Package contract is what loops promise on any kernel, as a test: TestReactor.
// A Machine is loops that run: WorldMachine in memory, package loop's tests have
// one on sockets. OnFaults and OverTLS put faults and TLS between a Machine and
// the cases. The package is apart from looptest because it needs testify.
package contract
