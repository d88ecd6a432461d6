package looptest_test

import (
	"testing"

	"turbine/loop/looptest"
)

func TestContractInTheWorld(t *testing.T) { looptest.TestReactor(t, looptest.WorldMachine) }
