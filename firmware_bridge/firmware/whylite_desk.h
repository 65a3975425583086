/* What the parts of a device ask of each other: not for users. */
#ifndef WHYLITE_DESK_H
#define WHYLITE_DESK_H

#include "whylite_device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* whylite_desk.c: what the host wants. Do what the message in `device` says; false where it has to wait until what is
 * under way is done, for it would destroy that. */
bool whylite_take(whylite_device *device);

/* whylite_device.c */
void whylite_copy_bytes(int8_t *to, const int8_t *from, uint32_t size);
void whylite_answer(whylite_device *device, uint32_t sequence, int32_t truth); /* the window that is there */
void whylite_tell_result(whylite_device *device); /* once more */
void whylite_tell_settings(whylite_device *device);
void whylite_tell_input(whylite_device *device);

/* Begin to explain the last answer, or another class, by the methods in use. */
void whylite_begin(whylite_device *device, uint32_t class_index);

/* Whether there is memory for a method. */
bool whylite_can_use(const whylite_device *device, uint32_t method);

#ifdef __cplusplus
}
#endif

#endif
