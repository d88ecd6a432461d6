//go:build poll_opt || gc_opt

package loop

// gnet's build tags change its poller: poll_opt uses connections after they
// were freed, gc_opt makes each close scan a table. The next line does not
// compile, and its name says why.
var _ = turbine_does_not_build_with_the_tags_poll_opt_or_gc_opt
