package directory

import "errors"

var (
	// ErrNotFound is returned when an entity that was named does not exist.
	ErrNotFound = errors.New("not found")

	// ErrReserved is returned when a reserved entity would be deleted without
	// force.
	ErrReserved = errors.New("is reserved and deleted only by force")

	// ErrInUse is returned when an entity would be deleted that a
	// ServiceAccount can't be without.
	ErrInUse = errors.New("is in use")

	// ErrTooLarge is returned when no snapshot could be made of what a write
	// would leave.
	ErrTooLarge = errors.New("no snapshot could be made of this")

	// ErrUnreachable is returned when a generation can't be gone back to.
	ErrUnreachable = errors.New("can't be gone back to")

	// ErrBadCredentials is returned when an access key does not exist or its
	// secret is another one.
	ErrBadCredentials = errors.New("unknown access key or wrong secret")
)
