package engine

// shares are what each loop may have of the limits that are for all loops together,
// so that no loop has to ask another. docs/security.md has the limits.
type shares struct {
	queue     int64 // of Options.Queue.Budget
	bodies    int64 // of BodyBudget, and at least one body
	polls     int64 // of MaxPolls
	upgrades  int64 // of MaxUpgrades
	admitting int   // of MaxAdmitting
}

func (o *Options) shares(loops int) shares {
	// Rounded up: the sum may exceed the limit by less than the number of loops.
	part := func(limit int) int { return (limit + loops - 1) / loops }
	return shares{
		queue:     max(o.Queue.Budget/int64(loops), 1),
		bodies:    max(o.Limits.BodyBudget/int64(loops), int64(o.MaxPayload)),
		polls:     int64(part(o.Limits.MaxPolls)),
		upgrades:  int64(part(o.Limits.MaxUpgrades)),
		admitting: part(o.Limits.MaxAdmitting),
	}
}
