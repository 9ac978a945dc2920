import { testMachineOn } from '../support/gpu-suite.ts'

await testMachineOn('swiftshader')
