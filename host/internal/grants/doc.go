// Package grants says which writes give somebody more than their writer has.
//
// Who may write at all is for policies to say. But a writer who may attach
// policies could attach one that allows everything, to themselves. So there are
// two sorts of writers. An unrestricted one may make any change. Of any other,
// each write is compared, state before and after, and refused where it
//
//   - attaches a policy that the writer does not hold;
//   - puts somebody into a group that the writer is not in, or gives somebody a
//     role that the writer does not have: conditions go by the names of both;
//   - changes the rules of a policy that is attached anywhere;
//   - takes away what denies: a policy with a deny rule, or a group or role that
//     leads to one; "disabled" and tokensNotBefore of a user;
//   - changes or deletes what is reserved, such as the policies of the host's own
//     API: who gets one attached later would get what it says then;
//   - changes an issuer, a governing role, or a service in anything but disabling
//     it: each says who somebody is, or in whose name they may act.
//
// What a writer holds are the policies, groups and roles in force for it before
// the write, by the store and by its token, with those of the built-in group. A
// service that acts holds nothing.
//
// One way round remains, which is in the policies' hands: a rule that allows by
// what somebody is not ("not in token.groups") is met by taking that away. Deny
// by what somebody is, instead.
package grants
