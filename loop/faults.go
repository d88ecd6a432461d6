package loop

// Faults stands between a machine's loops and the operating system, and makes
// calls fail that hardly ever do. It is for tests; looptest.Faulty is one.
type Faults interface {
	// Kernel returns what the loop with that index uses in place of k.
	Kernel(index int, k Kernel) Kernel
	// Accept is asked before each accept(2), on loop 0. An error is taken for
	// the call's own.
	Accept() error
}

// kernel is k, or what the options put in front of it.
func (o *Options) kernel(index int, k Kernel) Kernel {
	if o.Faults == nil {
		return k
	}
	return o.Faults.Kernel(index, k)
}
