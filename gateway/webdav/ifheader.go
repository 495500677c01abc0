package webdav

import (
	"errors"
	"strings"

	"golang.org/x/net/webdav"
)

// ifList is one list of an If header (section 10.4.2).
type ifList struct {
	resource   string // of a tagged list: the URL; else empty, for that of the request
	conditions []webdav.Condition
}

func (l ifList) hasETag() bool {
	for _, c := range l.conditions {
		if c.ETag != "" {
			return true
		}
	}
	return false
}

// Limits of an If header, which net/http has limited as a whole already.
const (
	maxIfLists      = 256
	maxIfConditions = 1024
)

var errIf = errors.New("the If header cannot be understood")

// parseIf reads an If header. ETags keep their quotes.
func parseIf(s string) ([]ifList, error) {
	var lists []ifList
	resource, tagged, conditions := "", false, 0
	for s = blank(s); s != ""; s = blank(s) {
		switch s[0] {
		case '<':
			url, rest, ok := strings.Cut(s[1:], ">")
			if !ok || url == "" || len(lists) > 0 && !tagged {
				return nil, errIf // lists are all tagged, or none is
			}
			resource, tagged, s = url, true, blank(rest)
			if s == "" || s[0] != '(' {
				return nil, errIf
			}
		case '(':
			l, rest, err := parseIfList(s[1:])
			if err != nil {
				return nil, err
			}
			l.resource = resource
			conditions += len(l.conditions)
			if lists = append(lists, l); len(lists) > maxIfLists || conditions > maxIfConditions {
				return nil, errIf
			}
			s = rest
		default:
			return nil, errIf
		}
	}
	if len(lists) == 0 {
		return nil, errIf
	}
	return lists, nil
}

// parseIfList reads a list behind its opening parenthesis.
func parseIfList(s string) (l ifList, rest string, err error) {
	for s = blank(s); ; s = blank(s) {
		var c webdav.Condition
		if len(s) >= 3 && strings.EqualFold(s[:3], "Not") {
			c.Not = true
			s = blank(s[3:])
		}
		if s == "" {
			return l, "", errIf
		}
		var ok bool
		switch s[0] {
		case ')':
			if c.Not || len(l.conditions) == 0 {
				return l, "", errIf
			}
			return l, s[1:], nil
		case '<':
			if c.Token, s, ok = strings.Cut(s[1:], ">"); !ok || c.Token == "" {
				return l, "", errIf
			}
		case '[':
			if c.ETag, s, ok = parseIfETag(s[1:]); !ok {
				return l, "", errIf
			}
		default:
			return l, "", errIf
		}
		if l.conditions = append(l.conditions, c); len(l.conditions) > maxIfConditions {
			return l, "", errIf
		}
	}
}

// parseIfETag reads an ETag behind its opening bracket. A weak one keeps its
// mark, and so is never that of a resource.
func parseIfETag(s string) (etag, rest string, ok bool) {
	weak := ""
	if s = blank(s); strings.HasPrefix(s, "W/") {
		weak, s = "W/", s[2:]
	}
	tag, s, ok := cutETag(s)
	if s = blank(s); !ok || !strings.HasPrefix(s, "]") {
		return "", s, false
	}
	return weak + tag, s[1:], true
}

func blank(s string) string { return strings.TrimLeft(s, " \t") }
