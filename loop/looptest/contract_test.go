package looptest_test

import (
	"testing"

	"turbine/loop/looptest"
)

func TestContractInTheWorld(t *testing.T) { looptest.TestReactor(t, looptest.WorldMachine) }

// What the contract promises holds on a machine that takes and gives little at
// a time, but for the one case that counts on a willing kernel.
func TestContractInAFaultyWorld(t *testing.T) {
	looptest.TestReactor(t, looptest.OnFaults(looptest.WorldMachine, looptest.Rates{
		Short: 1000, NotNow: 1000, Interrupted: 500,
	}), "07 Drained comes after pressure")
}
