package program

import (
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// envPrefix is what the variables of all flags begin with.
const (
	envName   = "TURBINE"
	envPrefix = envName + "_"
)

// kubernetesLink is the end of a variable that Kubernetes sets in every container
// for a service, whose name may well be turbine.
var kubernetesLink = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$`)

// warnOfVariables logs the variables that look like ours and are no flag's: a
// mistyped name would be ignored without a word.
func warnOfVariables(logger *slog.Logger, environment []string, flags []*kong.Flag) {
	var known []string
	for _, f := range flags {
		known = append(known, f.Envs...)
	}
	inKubernetes := slices.ContainsFunc(environment, func(v string) bool { return strings.HasPrefix(v, "KUBERNETES_SERVICE_HOST=") })
	for _, variable := range environment {
		name, _, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(known, name) || inKubernetes && kubernetesLink.MatchString(name) {
			continue
		}
		attrs := []any{slog.String("variable", name)} // its value may be a secret
		if near := nearest(name, known, envPrefix); near != "" {
			attrs = append(attrs, slog.String("nearest", near))
		}
		logger.Warn("no flag has this environment variable; it is ignored", attrs...)
	}
}

// nearest is the name that differs least from the one given, "" if all differ in
// more than a third of it. The prefix, which all of them have, does not count.
func nearest(name string, names []string, prefix string) (best string) {
	least := (len(name)-len(prefix))/3 + 1
	for _, other := range names {
		if d := distance(name, other); d < least {
			best, least = other, d
		}
	}
	return best
}

// distance is the number of letters to insert, leave out or replace to make a
// out of b.
func distance(a, b string) int {
	row := make([]int, len(b)+1) // the distances of a's beginning from those of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// variableOf is the environment variable that sets the flag.
func variableOf(flag *kong.Flag) (name string, set bool) {
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return name, true
		}
	}
	return "", false
}
