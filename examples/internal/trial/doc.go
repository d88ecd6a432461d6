// Package trial runs the example programs as their users do: started with flags,
// ended by SIGTERM. It is for their tests.
//
//	func TestMain(m *testing.M) { trial.Main(m, main) }
//
//	func TestProgram(t *testing.T) {
//		p := trial.Run(t, trial.Self(t, "-addr", "127.0.0.1:0"))
//		url := p.Wait(t, `listening on (\S+)`)
//		c := enginetest.Dial(t, url, enginetest.Options{})
//		...
//	}
//
// Waiting is always for a condition, bounded by Patience. What was started is
// gone when the test ends.
package trial
