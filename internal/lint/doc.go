// Package lint holds tests of the repository as a whole: which package imports
// which, what the documents claim and in which words, the keys of log records, the
// inputs of fuzz targets. It imports no package of this module.
package lint
