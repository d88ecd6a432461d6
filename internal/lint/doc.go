// Package lint holds tests of the repository as a whole: who imports whom, what
// the documents claim, the keys of log records, the inputs of fuzz targets. It
// imports no package of this module.
package lint
