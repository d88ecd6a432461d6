package contract_test

import (
	"crypto/tls"
	"testing"

	"turbine/internal/race"
	"turbine/loop/looptest"
	"turbine/loop/looptest/contract"
)

func init() { contract.Less = race.Less }

func TestContractInTheWorld(t *testing.T) { contract.TestReactor(t, contract.WorldMachine) }

// What the contract promises holds on a machine that takes and gives little at
// a time, except the one case that counts on a willing kernel.
func TestContractInAFaultyWorld(t *testing.T) {
	contract.TestReactor(t, contract.OnFaults(contract.WorldMachine, looptest.Rates{
		Short: 1000, NotNow: 1000, Interrupted: 500,
	}), "07 Drained comes after pressure")
}

// closeSent is the case that TLS differs in: a peer has close_notify to say when
// it has said all.
const closeSent = "CloseSent does not wait for the peer"

// TLS is not seen from above.
func TestContractOverTLSInTheWorld(t *testing.T) {
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			contract.TestReactor(t, contract.OverTLS(contract.WorldMachine, version), closeSent)
		})
	}
}

func TestContractOverTLSInAFaultyWorld(t *testing.T) {
	contract.TestReactor(t, contract.OverTLS(contract.OnFaults(contract.WorldMachine, looptest.Rates{
		Short: 1000, NotNow: 1000, Interrupted: 500,
	}), tls.VersionTLS13), "07 Drained comes after pressure", closeSent)
}

// Nor which of the two ends of TLS a loop is. Cases that write much are left out: what
// encrypts does not know the end.
func TestContractAsTLSClientInTheWorld(t *testing.T) {
	contract.TestReactor(t, contract.AsTLSClient(contract.WorldMachine, tls.VersionTLS13), closeSent,
		"06 all is flushed before close", "12 a shared buffer stays as it is", "13 a backlog of small messages",
		"17 a reused descriptor hears nothing old", "MoveTo with unsent bytes")
}
