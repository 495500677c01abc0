package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/causewayfs/causeway/store"
)

// Exit statuses. They are part of the command's contract.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2

	exitLockWait = 75 // EX_TEMPFAIL: the wait for a lock ran out
)

// problem is an error that says what was attempted and what to do about it.
// It prints as one line: what: why. remedy
type problem struct {
	what   string // the step that failed, as a verb phrase
	err    error  // why
	remedy string // what to do, as a sentence without its full stop; may be empty
}

func (p *problem) Error() string { return p.what + ": " + p.err.Error() }
func (p *problem) Unwrap() error { return p.err }

// usageError is an error in how the command was called or configured.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// reportedError has been shown to the user already, by a report or by the
// process that runs in the background.
type reportedError struct{ err error }

func (e *reportedError) Error() string { return e.err.Error() }
func (e *reportedError) Unwrap() error { return e.err }

// statusError is an outcome with an exit status of its own.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// exitStatus returns the exit status for the outcome err of a command.
func exitStatus(err error) int {
	switch {
	case err == nil:
		return exitDone
	case isUsage(err):
		return exitUsage
	}
	if s, ok := errors.AsType[*statusError](err); ok {
		return s.status
	}
	return exitFailed
}

func isUsage(err error) bool {
	_, ok := errors.AsType[*usageError](err)
	return ok
}

// message returns the one line that tells the user about err.
func message(err error) string {
	text := explain(err)
	remedy := remedyFor(err)
	if remedy == "" {
		return "causeway: " + text
	}
	return "causeway: " + strings.TrimRight(text, ".") + ". " + remedy + "."
}

// explain returns the text of err in one line. Where an S3 server has said what
// is wrong, its words stand for the layers of the response round them.
func explain(err error) string {
	text := err.Error()
	// This is what errors of the AWS SDK have; only store/s3 knows the SDK.
	type answer interface {
		error
		ErrorCode() string
		ErrorMessage() string
	}
	e, isStore := errors.AsType[*store.Error](err)
	if isStore && e.Err != nil {
		if said, ok := errors.AsType[answer](e.Err); ok {
			text = strings.Replace(text, e.Err.Error(), said.ErrorCode()+": "+said.ErrorMessage(), 1)
		}
	}
	return oneLine(text)
}

// oneLine joins the lines of an error from elsewhere.
func oneLine(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	for i, l := range lines {
		lines[i] = strings.TrimSpace(l)
	}
	return strings.Join(lines, "; ")
}

// remedyFor finds what to do about err: what the nearest problem says, else
// what goes with the kind of a failed request, else with the errno.
func remedyFor(err error) string {
	for p, ok := errors.AsType[*problem](err); ok; p, ok = errors.AsType[*problem](p.err) {
		if p.remedy != "" {
			return p.remedy
		}
	}
	if isUsage(err) {
		return "See causeway --help"
	}
	if e, ok := errors.AsType[*store.Error](err); ok {
		return storeRemedy(e.Kind)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return storeRemedy(store.Timeout)
	case errors.Is(err, syscall.EADDRINUSE):
		return "Another program listens there; choose another address"
	case errors.Is(err, syscall.ENOSPC):
		return "Make room on that disk, or choose another directory with --state-dir"
	case errors.Is(err, fs.ErrPermission):
		return "Choose a place that you may write to, or run as a user who may"
	}
	return ""
}

// storeRemedy says what a person can do when a request fails with kind.
func storeRemedy(kind store.Kind) string {
	switch kind {
	case store.NoBucket:
		return "Create the bucket, or correct its name, --endpoint or --region"
	case store.BadCredentials:
		return "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to keys that this endpoint knows, and make sure that the clock is right"
	case store.Denied:
		return "Allow these credentials s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on the bucket"
	case store.Unavailable:
		return "Check that --endpoint names a running S3 server that this host can reach"
	case store.Timeout:
		return "The endpoint accepts no request or answers none in time; check --endpoint and the network"
	case store.Throttled:
		return "The endpoint asks for fewer requests; try again later"
	case store.Unsupported:
		return "The endpoint does not have this operation; causeway doctor lists what is missing"
	case store.NoSpace:
		return "Make room on the S3 server or raise its quota"
	case store.TooLarge:
		return "The endpoint has a lower limit for the size of objects or parts than Amazon S3"
	case store.Invalid:
		return "The endpoint refuses such a request for good; check the bucket name, the prefix and --region"
	case store.NotExist:
		return "It was removed in the meantime, or never existed; check the name"
	case store.PreconditionFailed, store.Conflict, store.NotModified, store.OutOfRange:
		return "Something else changed the object at the same time; try again"
	case store.Canceled:
		return "The command was interrupted; run it again"
	case store.Other:
		return "Run causeway doctor on the bucket to find out more"
	}
	return ""
}

// missingCapabilities is the refusal of an endpoint that lacks what safety needs.
func missingCapabilities(names []string) error {
	return &problem{
		what: "probe the endpoint",
		err:  fmt.Errorf("it does not enforce %s", strings.Join(names, ", ")),
		remedy: "Use an S3 server that does; or give --single-writer, if this mount is and stays the only writer of the bucket, " +
			"to mount it without protection against other writers",
	}
}
